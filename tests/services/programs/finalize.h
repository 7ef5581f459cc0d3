/* MPI_Finalize that ends: MPICH 4.0.2 with UCX 1.13 over TCP hangs in it now and then, without any
 * container too (Debian 12; 17 of 30 runs of six ranks that had all talked to each other). Its
 * ranks wait in PMI's barrier without making progress for those that still flush. By then a test
 * program has said what it had to say, so it leaves. Hydra would take that for a crash and kill the
 * others: there this version says goodbye to its process manager (PMI-1) and leaves at once. */
#ifndef HPCBOX_LAB_FINALIZE_H
#define HPCBOX_LAB_FINALIZE_H

#include <mpi.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define FINALIZE_SECONDS 2

static inline void leave(int signal)
{
	(void)signal;
	_exit(0);
}

#if defined(MPICH_NUMVERSION) && MPICH_NUMVERSION < 40100000
static inline void leave_hydra(void)
{
	static const char goodbye[] = "cmd=finalize\n";
	char answer[64];
	int manager = atoi(getenv("PMI_FD"));

	MPI_Barrier(MPI_COMM_WORLD);
	if (write(manager, goodbye, sizeof(goodbye) - 1) > 0 &&
	    read(manager, answer, sizeof(answer)) > 0)
		_exit(0);
	_exit(1);
}
#endif

static inline void finalize(void)
{
#if defined(MPICH_NUMVERSION) && MPICH_NUMVERSION < 40100000
	/* Set by hydra and not by Slurm. */
	if (getenv("MPI_LOCALNRANKS") != NULL && getenv("PMI_FD") != NULL)
		leave_hydra();
#endif
	(void)signal(SIGALRM, leave);
	(void)alarm(FINALIZE_SECONDS);
	MPI_Finalize();
	(void)alarm(0);
}

#endif
