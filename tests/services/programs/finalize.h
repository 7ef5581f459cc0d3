/* MPI_Finalize that ends: MPICH 4.0.2 with UCX 1.13 over TCP hangs in it now and then, without any
 * container too (Debian 12; 17 of 30 runs of six ranks that had all talked to each other). Its
 * ranks wait in PMI's barrier without making progress for those that still flush. By then a test
 * program has said what it had to say, so it leaves; hydra then sends SIGUSR1 to those who stay. */
#ifndef HPCBOX_LAB_FINALIZE_H
#define HPCBOX_LAB_FINALIZE_H

#include <mpi.h>
#include <signal.h>
#include <unistd.h>

#define FINALIZE_SECONDS 2

static inline void leave(int signal)
{
	(void)signal;
	_exit(0);
}

static inline void finalize(void)
{
	(void)signal(SIGUSR1, SIG_IGN);
	(void)signal(SIGALRM, leave);
	(void)alarm(FINALIZE_SECONDS);
	MPI_Finalize();
	(void)alarm(0);
}

#endif
