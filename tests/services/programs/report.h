/* What every test program says about where it runs; one line, so that ranks don't mix their words. */
#ifndef HPCBOX_LAB_REPORT_H
#define HPCBOX_LAB_REPORT_H

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IMAGE_MARKER "/etc/hpcbox-lab-image"
#define HOST_MARKER "/etc/hpcbox-lab-host"

/* Print "rank R size S node NODE marker HEX|absent hostmarker present|absent mntns INODE". */
static inline void report(int rank, int size)
{
	char marker[128] = "absent";
	char node[256] = "unknown";
	struct stat mount_namespace = {0};

	FILE *file = fopen(IMAGE_MARKER, "r");
	if (file != NULL) {
		if (fgets(marker, sizeof(marker), file) == NULL)
			(void)strcpy(marker, "unreadable");
		marker[strcspn(marker, "\n")] = '\0';
		(void)fclose(file);
	}
	(void)gethostname(node, sizeof(node) - 1);
	(void)stat("/proc/self/ns/mnt", &mount_namespace);
	printf("rank %d size %d node %s marker %s hostmarker %s mntns %lu\n", rank, size, node, marker,
	       access(HOST_MARKER, F_OK) == 0 ? "present" : "absent",
	       (unsigned long)mount_namespace.st_ino);
	(void)fflush(stdout);
}

#endif
