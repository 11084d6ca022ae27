// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * unix.bpf.c - a process connects, or sends, to a Unix socket
 *
 * Hooks:   lsm/unix_stream_connect(from, to, new)  connect(2) to a stream or a sequence of packets
 *          lsm/unix_may_send(from, to)             connect(2) and sendmsg(2) of datagrams
 * Since:   Linux 5.7; none may sleep
 * Returns: what the rules say; 0 where nobody is asked
 *
 * The object is the socket's file where it has one, and a name else. A datagram to whom the socket is
 * connected to is not told of: the connection was. Sockets that were made as a pair never connect.
 */
#include "plane.bpf.h"

/* Where the name begins in struct sockaddr_un. */
#define NAME 2

static __always_inline int say(struct facts *f, const struct sock *socket, __u64 type)
{
	const struct unix_sock *to = (const void *)socket;
	struct dentry *dentry = BPF_CORE_READ(to, path.dentry);
	const struct unix_address *address = BPF_CORE_READ(to, addr);
	int len = address ? BPF_CORE_READ(address, len) - NAME : 0;
	char nothing = 0;

	facts_number(f, PLACE_VALUE1, type);
	if (dentry) {
		facts_path(f, BPF_CORE_READ(to, path.mnt), dentry);
		facts_bytes(f, &nothing, 0);
		return facts_end(f);
	}
	facts_nowhere(f);
	/* An abstract name begins with a zero, which is no part of it. */
	if (len > 1)
		facts_bytes(f, (const char *)address->name + NAME + 1, len - 1);
	else
		facts_bytes(f, &nothing, 0);
	return facts_end(f);
}

SEC("lsm/unix_stream_connect")
int BPF_PROG(unix_connect, struct sock *from, struct sock *to, struct sock *new, int ret)
{
	struct facts *f = facts_begin(UNIX_CONNECT, ret);

	return f ? say(f, to, BPF_CORE_READ(to, sk_type)) : ret;
}

SEC("lsm/unix_may_send")
int BPF_PROG(unix_connect_datagram, struct socket *from, struct socket *to, int ret)
{
	struct sock *other = BPF_CORE_READ(to, sk);
	struct unix_sock *own = (void *)BPF_CORE_READ(from, sk);
	struct facts *f;

	if (BPF_CORE_READ(own, peer) == other)
		return ret;
	f = facts_begin(UNIX_CONNECT, ret);
	return f ? say(f, other, BPF_CORE_READ(other, sk_type)) : ret;
}
