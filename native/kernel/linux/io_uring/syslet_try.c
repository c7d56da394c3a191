/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Attempts: a call made so that it cannot wait for a device, a peer or another
 * process. Called by syslet_call.c, perhaps with the lock of a ring held.
 *
 * An attempt that fails has no effect, but for bytes already moved, which are
 * counted in run.done and skipped when the call goes on elsewhere. What may be
 * waited for here is short: memory, a page fault, the lock of a socket.
 */
#include <linux/dcache.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/namei.h>
#include <linux/net.h>
#include <linux/sched/xacct.h>
#include <linux/socket.h>
#include <linux/tcp.h>
#include <linux/uio.h>
#include <net/sock.h>

#include "syslet.h"

/* What follows, here or in a worker, begins behind the bytes just moved. */
static void count_moved(struct syslet *s, enum syslet_kind kind,
			unsigned long *args, size_t moved)
{
	s->run.done += moved;
	syslet_skip(kind, args, moved);
}

static bool file_never_waits(struct file *file)
{
	umode_t mode = file_inode(file)->i_mode;

	return (file->f_flags & O_NONBLOCK) &&
	       (S_ISFIFO(mode) || S_ISSOCK(mode));
}

static bool fd_is_nonblocking(int fd)
{
	struct fd f = fdget(fd);
	bool nonblocking = f.file && (f.file->f_flags & O_NONBLOCK);

	fdput(f);
	return nonblocking;
}

/* Names that must be asked for again belong to file systems with a server. */
static bool file_has_server(const struct dentry *dentry)
{
	return dentry->d_flags & DCACHE_OP_REVALIDATE;
}

/* Moves up to @len bytes at *@pos; -EAGAIN: not one without waiting. */
static ssize_t move_bytes(struct file *file, int rw, char __user *buf,
			  size_t len, loff_t *pos)
{
	struct iov_iter iter;
	struct iovec iov;
	ssize_t ret;

	ret = import_single_range(rw, buf, len, &iov, &iter);
	if (ret)
		return ret;
	if (rw == READ) {
		ret = vfs_iter_read(file, &iter, pos, RWF_NOWAIT);
		inc_syscr(current);
		add_rchar(current, ret > 0 ? ret : 0);
	} else {
		if (!file_start_write_trylock(file))
			return -EAGAIN;
		ret = vfs_iter_write(file, &iter, pos, RWF_NOWAIT);
		file_end_write(file);
		inc_syscw(current);
		add_wchar(current, ret > 0 ? ret : 0);
	}
	return ret == -EOPNOTSUPP ? -EAGAIN : ret;
}

/* A regular file moves less than asked for only at its end or if it waited. */
static bool is_cut_short(struct file *file, int rw, size_t len, size_t moved,
			 loff_t pos)
{
	struct inode *inode = file->f_mapping->host;

	if (moved == len || !(S_ISREG(inode->i_mode) || S_ISBLK(inode->i_mode)))
		return false;
	return rw == WRITE || (moved && pos < i_size_read(inode));
}

static bool can_move(struct file *file, int rw)
{
	if (!(file->f_mode & FMODE_NOWAIT))
		return false;
	if (rw == READ)
		return (file->f_mode & FMODE_READ) && file->f_op->read_iter;
	return (file->f_mode & FMODE_WRITE) && file->f_op->write_iter;
}

static bool move_at(struct syslet *s, struct file *file, u32 nr, int rw,
		    unsigned long *args, loff_t *pos, long *ret)
{
	ssize_t moved =
		move_bytes(file, rw, (char __user *)args[1], args[2], pos);

	if (moved == -EAGAIN)
		return false;
	if (moved >= 0 && is_cut_short(file, rw, args[2], moved, *pos)) {
		count_moved(s, syslet_kind(nr), args, moved);
		return false;
	}
	*ret = moved;
	return true;
}

/* read and write of what is not a socket, at the file's own position. */
static bool try_move(struct syslet *s, struct file *file, u32 nr, int rw,
		     unsigned long *args, long *ret)
{
	loff_t pos = 0;
	bool made;

	if (!can_move(file, rw))
		return false;
	if (file->f_mode & FMODE_STREAM)
		return move_at(s, file, nr, rw, args, &pos, ret);
	if (!mutex_trylock(&file->f_pos_lock))
		return false;
	pos = file->f_pos;
	made = move_at(s, file, nr, rw, args, &pos, ret);
	file->f_pos = pos;
	mutex_unlock(&file->f_pos_lock);
	return made;
}

static bool try_move_at(struct syslet *s, u32 nr, int rw, unsigned long *args,
			long *ret)
{
	struct fd f = fdget(args[0]);
	loff_t pos = args[3];
	bool made = false;

	/* Whatever is wrong with these, the call itself says it best. */
	if (!f.file || pos < 0 ||
	    !(f.file->f_mode & (rw == READ ? FMODE_PREAD : FMODE_PWRITE))) {
		*ret = syslet_dispatch(s, nr, args);
		made = true;
	} else if (can_move(f.file, rw)) {
		made = move_at(s, f.file, nr, rw, args, &pos, ret);
	}
	fdput(f);
	return made;
}

/* Only a socket knows how to be asked not to wait for one call. */
static bool try_recv(unsigned long *args, unsigned int flags, long *ret)
{
	if ((flags & MSG_WAITALL) && !(flags & MSG_DONTWAIT))
		return false;
	*ret = __sys_recvfrom(
		args[0], (void __user *)args[1], args[2], flags | MSG_DONTWAIT,
		(struct sockaddr __user *)args[4], (int __user *)args[5]);
	return *ret != -EAGAIN || (flags & MSG_DONTWAIT) ||
	       fd_is_nonblocking(args[0]);
}

static bool try_send(struct syslet *s, unsigned long *args, unsigned int flags,
		     long *ret)
{
	/* Connecting is part of this one, and cannot be taken up in the middle. */
	if (flags & MSG_FASTOPEN)
		return false;
	*ret = __sys_sendto(args[0], (void __user *)args[1], args[2],
			    flags | MSG_DONTWAIT,
			    (struct sockaddr __user *)args[4], args[5]);
	if ((flags & MSG_DONTWAIT) || fd_is_nonblocking(args[0]))
		return true;
	if (*ret >= 0 && *ret < args[2]) {
		/* The peer of a stream has to read before the rest can go. */
		count_moved(s, SYSLET_SENDTO, args, *ret);
		return false;
	}
	return *ret != -EAGAIN;
}

static bool try_recvmsg(unsigned long *args, long *ret)
{
	unsigned int flags = args[2];

	if ((flags & MSG_WAITALL) && !(flags & MSG_DONTWAIT))
		return false;
	*ret = __sys_recvmsg(args[0], (struct user_msghdr __user *)args[1],
			     flags | MSG_DONTWAIT, true);
	return *ret != -EAGAIN || (flags & MSG_DONTWAIT) ||
	       fd_is_nonblocking(args[0]);
}

static bool try_socket_bytes(struct syslet *s, struct socket *socket, int rw,
			     unsigned long *args, long *ret)
{
	unsigned long call[6] = { args[0], args[1], args[2] };
	bool made;

	/* An empty read takes nothing, and a packet has an end. */
	if (!args[2] || (rw == WRITE && socket->type == SOCK_SEQPACKET))
		return false;
	if (rw == READ)
		return try_recv(call, 0, ret);
	made = try_send(s, call, 0, ret);
	args[1] = call[1];
	args[2] = call[2];
	return made;
}

static bool try_bytes(struct syslet *s, u32 nr, int rw, unsigned long *args,
		      long *ret)
{
	struct fd f = fdget(args[0]);
	bool made = true;

	if (!f.file || file_never_waits(f.file))
		*ret = syslet_dispatch(s, nr, args);
	else if (sock_from_file(f.file))
		made = try_socket_bytes(s, sock_from_file(f.file), rw, args,
					ret);
	else
		made = try_move(s, f.file, nr, rw, args, ret);
	fdput(f);
	return made;
}

static bool try_accept(unsigned long *args, int flags, long *ret)
{
	struct fd f = fdget(args[0]);
	bool nonblocking = f.file && (f.file->f_flags & O_NONBLOCK);
	struct file *file;
	int fd;

	if (!f.file || (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))) {
		*ret = f.file ? -EINVAL : -EBADF;
		goto done;
	}
	fd = get_unused_fd_flags(flags);
	if (fd < 0) {
		*ret = fd;
		goto done;
	}
	file = do_accept(f.file, O_NONBLOCK, (struct sockaddr __user *)args[1],
			 (int __user *)args[2], flags);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		*ret = PTR_ERR(file);
	} else {
		fd_install(fd, file);
		*ret = fd;
	}
done:
	fdput(f);
	return *ret != -EAGAIN || nonblocking;
}

/*
 * Looks a name up in what is cached and, if it is found, pins it, so that the
 * call that follows finds it too. 1: pinned; 0: not known without waiting.
 */
static int pin_cached(int dfd, unsigned long name, unsigned int flags,
		      struct path *path)
{
	int err = user_path_at(dfd, (const char __user *)name,
			       flags | LOOKUP_CACHED, path);

	if (err)
		return err == -EAGAIN ? 0 : err;
	if (!file_has_server(path->dentry))
		return 1;
	path_put(path);
	return 0;
}

/* Opening a FIFO or a device, or breaking a lease, may wait for a process. */
static bool opens_at_once(const struct path *path)
{
	struct inode *inode = d_backing_inode(path->dentry);
	struct file_lock_context *locks = smp_load_acquire(&inode->i_flctx);

	if (!S_ISREG(inode->i_mode) && !S_ISDIR(inode->i_mode))
		return false;
	return !locks || list_empty_careful(&locks->flc_lease);
}

static bool try_open(struct syslet *s, u32 nr, int dfd, unsigned long name,
		     int flags, unsigned long *args, long *ret)
{
	struct path path;
	bool made;
	int found;

	if (flags & (O_CREAT | O_TRUNC | __O_TMPFILE))
		return false;
	found = pin_cached(dfd, name, flags & O_NOFOLLOW ? 0 : LOOKUP_FOLLOW,
			   &path);
	if (found <= 0) {
		*ret = found;
		return found < 0;
	}
	made = opens_at_once(&path);
	if (made)
		*ret = syslet_dispatch(s, nr, args);
	path_put(&path);
	return made;
}

static bool try_stat(struct syslet *s, u32 nr, int dfd, unsigned long name,
		     int flags, unsigned long *args, long *ret)
{
	unsigned int lookup = flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW;
	struct path path;
	int found;

	if (flags & AT_EMPTY_PATH)
		lookup |= LOOKUP_EMPTY;
	if (flags & AT_STATX_FORCE_SYNC)
		return false;
	found = pin_cached(dfd, name, lookup, &path);
	if (found <= 0) {
		*ret = found;
		return found < 0;
	}
	*ret = syslet_dispatch(s, nr, args);
	path_put(&path);
	return true;
}

/* Calls on a descriptor that wait only for some kinds of file. */
static bool try_fd(struct syslet *s, u32 nr, bool closes, unsigned long *args,
		   long *ret)
{
	struct fd f = fdget_raw(args[0]);
	bool waits =
		f.file && (closes ? !!f.file->f_op->flush
				  : file_has_server(f.file->f_path.dentry));

	/* Dropped first: a close that finds no other user is the last one. */
	fdput(f);
	if (waits)
		return false;
	*ret = syslet_dispatch(s, nr, args);
	return true;
}

/* Options that neither load a module nor take a lock of the whole network. */
static bool option_is_simple(int level, int name)
{
	if (level == IPPROTO_TCP)
		return name == TCP_NODELAY || name == TCP_CORK ||
		       name == TCP_QUICKACK || name == TCP_KEEPIDLE ||
		       name == TCP_KEEPINTVL || name == TCP_KEEPCNT;
	if (level == SOL_SOCKET)
		return name == SO_REUSEADDR || name == SO_REUSEPORT ||
		       name == SO_KEEPALIVE || name == SO_LINGER ||
		       name == SO_SNDBUF || name == SO_RCVBUF ||
		       name == SO_ERROR || name == SO_TYPE;
	return false;
}

static bool try_path(struct syslet *s, u32 nr, unsigned long *args, long *ret)
{
	switch (syslet_kind(nr)) {
	case SYSLET_OPEN:
		return try_open(s, nr, AT_FDCWD, args[0], args[1], args, ret);
	case SYSLET_OPENAT:
		return try_open(s, nr, args[0], args[1], args[2], args, ret);
	case SYSLET_STAT:
		return try_stat(s, nr, AT_FDCWD, args[0], 0, args, ret);
	case SYSLET_LSTAT:
		return try_stat(s, nr, AT_FDCWD, args[0], AT_SYMLINK_NOFOLLOW,
				args, ret);
	case SYSLET_FSTATAT:
		return try_stat(s, nr, args[0], args[1], args[3], args, ret);
	case SYSLET_STATX:
		return try_stat(s, nr, args[0], args[1], args[2], args, ret);
	default:
		return false;
	}
}

bool syslet_try(struct syslet *s, u32 nr, unsigned long *args, long *ret)
{
	switch (syslet_kind(nr)) {
	case SYSLET_PLAIN:
	case SYSLET_OWN_THREAD:
		*ret = syslet_dispatch(s, nr, args);
		return true;
	case SYSLET_READ:
		return try_bytes(s, nr, READ, args, ret);
	case SYSLET_WRITE:
		return try_bytes(s, nr, WRITE, args, ret);
	case SYSLET_PREAD:
		return try_move_at(s, nr, READ, args, ret);
	case SYSLET_PWRITE:
		return try_move_at(s, nr, WRITE, args, ret);
	case SYSLET_SENDTO:
		return try_send(s, args, args[3], ret);
	case SYSLET_RECVFROM:
		return try_recv(args, args[3], ret);
	case SYSLET_RECVMSG:
		return try_recvmsg(args, ret);
	case SYSLET_ACCEPT:
		return try_accept(args, 0, ret);
	case SYSLET_ACCEPT4:
		return try_accept(args, args[3], ret);
	case SYSLET_CLOSE:
		return try_fd(s, nr, true, args, ret);
	case SYSLET_FSTAT:
		return try_fd(s, nr, false, args, ret);
	case SYSLET_SOCKOPT:
		if (!option_is_simple(args[1], args[2]))
			return false;
		*ret = syslet_dispatch(s, nr, args);
		return true;
	default:
		return try_path(s, nr, args, ret);
	}
}
