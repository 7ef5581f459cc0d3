/* Each rank says when it was in main and when it could work: "when RANK MAIN READY", both in
 * nanoseconds of CLOCK_REALTIME, which is one clock for all nodes of a lab. */
#include <mpi.h>
#include <stdio.h>
#include <time.h>

#include "finalize.h"

static long long now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_REALTIME, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(int argc, char **argv)
{
	long long in_main = now();
	int rank = -1;
	int one = 1;
	int size = 0;

	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Allreduce(&one, &size, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
	printf("when %d %lld %lld\n", rank, in_main, now());
	(void)fflush(stdout);
	finalize();
	return 0;
}
