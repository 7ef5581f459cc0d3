/* channel.c owns how one message is packed into a datagram. What the kinds mean belongs to
 * node_step.c. */
#define _GNU_SOURCE
#include "channel.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"

union control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(CHANNEL_FDS * sizeof(int))];
};

void message_clear(struct message *message)
{
	for (size_t i = 0; i < CHANNEL_FDS; i++)
		cleanup_close(&message->fds[i]);
}

int channel_pair(int ends[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
}

int channel_send(int end, const struct message *message)
{
	union control control = { 0 };
	struct iovec parts[] = {
		{ .iov_base = (void *) (size_t) &message->kind, .iov_len = 1 },
		{ .iov_base = (void *) (size_t) message->text, .iov_len = message->length },
	};
	struct msghdr packet = { .msg_iov = parts, .msg_iovlen = 2 };
	size_t count = 0;

	while (count < CHANNEL_FDS && message->fds[count] >= 0)
		count++;
	if (count > 0) {
		packet.msg_control = control.bytes;
		packet.msg_controllen = CMSG_SPACE(count * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(&control.header), message->fds, count * sizeof(int));
	}
	return sendmsg(end, &packet, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/* Takes over every descriptor the kernel installed; there was room for as many as fit. */
static void take_descriptors(struct msghdr *packet, struct message *message)
{
	for (struct cmsghdr *part = CMSG_FIRSTHDR(packet); part; part = CMSG_NXTHDR(packet, part))
		if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS)
			memcpy(message->fds, CMSG_DATA(part), part->cmsg_len - CMSG_LEN(0));
}

int channel_receive(int end, bool peek, struct message *message)
{
	union control control = { 0 };
	struct iovec parts[] = {
		{ .iov_base = &message->kind, .iov_len = 1 },
		{ .iov_base = message->text, .iov_len = sizeof(message->text) - 1 },
	};
	struct msghdr packet = { .msg_iov = parts, .msg_iovlen = 2,
		.msg_control = control.bytes, .msg_controllen = sizeof(control.bytes) };
	struct pollfd ready = { .fd = end, .events = POLLIN };
	ssize_t size;

	/* A packet wakes one of the readers that sleep in recvmsg, but all that sleep in poll. */
	do
		size = poll(&ready, 1, -1) < 0 ? -1
			: recvmsg(end, &packet, MSG_CMSG_CLOEXEC | MSG_DONTWAIT | (peek ? MSG_PEEK : 0));
	while (size < 0 && (errno == EINTR || errno == EAGAIN));
	if (size <= 0)
		return (int) size;
	message->length = (size_t) size - 1;
	message->text[message->length] = '\0';
	take_descriptors(&packet, message);
	if (!(packet.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return 1;
	message_clear(message);
	errno = EBADMSG;
	return -1;
}
