/* Messages with descriptors. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/socket.h>

#include "channel.h"
#include "tap.h"

static int open_fds(void)
{
	int count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

int main(void)
{
	int before = open_fds(), ends[2], pipes[2];
	struct message sent = MESSAGE_INIT, got = MESSAGE_INIT, again = MESSAGE_INIT;
	char byte = 0;

	sent.kind = 'R';
	sent.length = 5;
	strcpy(sent.text, "hello");

	ok(channel_pair(ends) == 0 && pipe(pipes) == 0, "a channel opens");
	ok(fcntl(ends[0], F_GETFD) & FD_CLOEXEC, "its ends are closed on exec");
	sent.fds[0] = pipes[0];
	sent.fds[1] = pipes[1];
	ok(channel_send(ends[0], &sent) == 0, "a message with two descriptors is sent");
	ok(channel_receive(ends[1], true, &again) == 1 && again.kind == 'R' && strcmp(again.text, "hello") == 0, "a reader may look at it");
	ok(channel_receive(ends[1], false, &got) == 1 && strcmp(got.text, "hello") == 0, "and the message is still there");
	ok(got.fds[0] >= 0 && again.fds[0] >= 0 && got.fds[0] != again.fds[0], "each reader gets descriptors of its own");
	ok(write(got.fds[1], "x", 1) == 1 && read(again.fds[0], &byte, 1) == 1 && byte == 'x', "they are the same pipe");
	ok(fcntl(got.fds[0], F_GETFD) & FD_CLOEXEC, "they are closed on exec");
	message_clear(&got);
	message_clear(&again);
	ok(got.fds[0] == -1 && got.fds[1] == -1, "clearing a message closes them");

	ok(send(ends[0], "R", 1, 0) == 1 && channel_receive(ends[1], false, &got) == 1 && got.fds[0] == -1, "a message may bring none");
	char big[CHANNEL_TEXT_BYTES + 100];
	memset(big, 'P', sizeof(big));
	ok(send(ends[0], big, sizeof(big), 0) > 0 && channel_receive(ends[1], false, &got) == -1 && errno == EBADMSG, "a message too long is refused");
	sent.fds[1] = -1;
	close(ends[0]);
	ok(channel_receive(ends[1], false, &got) == 0, "a closed channel ends");
	ok(channel_send(ends[1], &sent) == -1, "and takes nothing more, without a signal");
	close(ends[1]);
	close(pipes[0]);
	close(pipes[1]);
	ok(open_fds() == before, "no descriptor is left");
	return done();
}
