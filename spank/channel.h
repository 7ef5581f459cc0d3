/* channel.h: messages with descriptors between two processes of one node (AF_UNIX SEQPACKET). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { CHANNEL_TEXT_BYTES = 4096, CHANNEL_FDS = 7 };

/* One message: its kind, its bytes (always NUL-terminated) and the descriptors that came along;
 * unused places hold -1. */
struct message {
	char kind;
	size_t length;
	char text[CHANNEL_TEXT_BYTES + 2];
	int fds[CHANNEL_FDS];
};

#define MESSAGE_INIT { .fds = { -1, -1, -1, -1, -1, -1, -1 } }

void message_clear(struct message *message);
#define AUTO_MESSAGE __attribute__((cleanup(message_clear)))

/* Two connected ends, close-on-exec. 0, or -1 with errno. */
int channel_pair(int ends[2]);

/* Sends the descriptors before the first -1 along. 0, or -1 with errno. The message keeps them. */
int channel_send(int end, const struct message *message);

/* Waits for a message: 1; 0 when all other ends are closed; -1 with errno (EBADMSG: not a message
 * of ours). With peek the message stays for further readers of the same end, and each gets its
 * own copy of the descriptors. */
int channel_receive(int end, bool peek, struct message *message);
