/* Each rank reports where it runs. The size is what an allreduce over all ranks counted, so ranks
 * that don't reach each other can't pretend to be one job. */
#include <mpi.h>

#include "finalize.h"
#include "report.h"

int main(int argc, char **argv)
{
	int rank = -1;
	int one = 1;
	int size = 0;

	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Allreduce(&one, &size, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
	report(rank, size);
	finalize();
	return 0;
}
