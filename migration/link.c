/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ways to a peer, see link.h.
 *
 * Why a command's exit status counts: "gzip -dc" tells that its input was
 * damaged only after it has written all of its output, and "cat > FILE" that
 * the disk is full after it has read all of its input.
 *
 * Threads: the job's.
 */
#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/tls-channel.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"

/* A command that has all of its input, or has closed its output. */
#define COMMAND_END_NS (60 * VM_NS_PER_SEC)
/* One that passes on the last answer, and then sees the source close. */
#define COMMAND_FLUSH_NS (5 * VM_NS_PER_SEC)
/* One whose end may be why the stream broke. */
#define COMMAND_DEATH_NS (1 * VM_NS_PER_SEC)

static const char *after(const char *uri, const char *prefix)
{
    return g_str_has_prefix(uri, prefix) ? uri + strlen(prefix) : NULL;
}

bool mig_uri_is_connection(const char *uri)
{
    return after(uri, "tcp:") || after(uri, "unix:");
}

int mig_uri_fd(const char *uri)
{
    const char *text = after(uri, "fd:");
    guint64 fd;

    return text && g_ascii_string_to_unsigned(text, 10, 0, INT_MAX, &fd, NULL)
               ? (int)fd
               : -1;
}

bool mig_uri_can_tls(const char *uri)
{
    return mig_uri_is_connection(uri) || after(uri, "fd:");
}

bool mig_uri_check(const char *uri, GError **errp)
{
    const char *text;

    if (after(uri, "fd:")) {
        return mig_uri_fd(uri) >= 0 ||
               vm_error_set(errp, 0, "'%s' names no descriptor", uri);
    }
    if ((text = after(uri, "exec:"))) {
        return text[0] != '\0' ||
               vm_error_set(errp, 0, "'%s' names no command", uri);
    }
    if ((text = after(uri, "file:"))) {
        if (strstr(text, ",offset=")) {
            return vm_error_set(errp, 0, "'%s': an offset is not supported",
                                uri);
        }
        return text[0] != '\0' ||
               vm_error_set(errp, 0, "'%s' names no file", uri);
    }
    if (mig_uri_is_connection(uri)) {
        return vm_channel_address_check(uri, errp);
    }
    return vm_error_set(errp, 0, "unknown migration protocol: '%s' begins "
                                 "with none of tcp:, unix:, fd:, exec:, "
                                 "file:", uri);
}

/* -- opening ------------------------------------------------------------ */

static bool use_channel(MigLink *l, VmChannel *take_ch, bool can_answer)
{
    if (!take_ch) {
        return false;
    }
    l->s = mig_stream_new(take_ch);
    l->can_answer = can_answer;
    return true;
}

static bool use_socket(MigLink *l, int take_fd, GError **errp)
{
    vm_autofd fd = take_fd;
    int type = 0, off = 0;
    socklen_t len = sizeof(type);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0 ||
        ioctl(fd, FIONBIO, &off) != 0) {
        return vm_error_set(errp, errno, "cannot use descriptor %d", fd);
    }
    if (type != SOCK_STREAM) {
        return vm_error_set(errp, 0, "descriptor %d is not a stream socket",
                            fd);
    }
    return use_channel(l, vm_channel_new_fd(vm_steal_fd(&fd)), true);
}

static bool open_fd(MigLink *l, int take_fd, bool incoming, GError **errp)
{
    vm_autofd fd = take_fd;
    int want = incoming ? O_RDONLY : O_WRONLY;
    int flags = fcntl(fd, F_GETFL);
    struct stat st;

    if (flags < 0 || fstat(fd, &st) != 0) {
        return vm_error_set(errp, errno, "descriptor %d", fd);
    }
    if (S_ISSOCK(st.st_mode)) {
        return use_socket(l, vm_steal_fd(&fd), errp);
    }
    if ((flags & O_ACCMODE) != want && (flags & O_ACCMODE) != O_RDWR) {
        return vm_error_set(errp, 0, "descriptor %d cannot be %s", fd,
                            incoming ? "read" : "written");
    }
    return use_channel(l, vm_channel_new_pipe(vm_steal_fd(&fd), errp), false);
}

static bool open_command(MigLink *l, const char *text, GError **errp)
{
    int fd;

    l->is_command = true;
    l->command = vm_command_new(text, &fd, errp);
    return l->command && use_channel(l, vm_channel_new_fd(fd), true);
}

/*
 * One process writes a file, or any number read it: a VM may run in place from
 * one (docs/migration-format.md, 4.8), and would lose its memory to whoever
 * writes there. File systems without locks have to do without.
 */
static bool lock_file(int fd, const char *path, bool incoming, GError **errp)
{
    if (flock(fd, (incoming ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0 ||
        errno != EWOULDBLOCK) {
        return true;
    }
    return vm_error_set(errp, 0, incoming
                                     ? "'%s' is being written"
                                     : "'%s' is in use, perhaps by a VM that "
                                       "was started from it", path);
}

static bool prepare_file(int fd, const char *path, bool incoming,
                         GError **errp)
{
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0) {
        return vm_error_set(errp, errno, "cannot open '%s'", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return vm_error_set(errp, 0, "'%s' is not a regular file", path);
    }
    if (!lock_file(fd, path, incoming, errp)) {
        return false;
    }
    return incoming || ftruncate(fd, 0) == 0 ||
           vm_error_set(errp, errno, "cannot empty '%s'", path);
}

static bool open_file(MigLink *l, const char *path, bool incoming,
                      GError **errp)
{
    /* O_NONBLOCK: a FIFO is refused instead of waited for. */
    int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK |
                (incoming ? O_RDONLY : O_WRONLY | O_CREAT);
    vm_autofd fd = open(path, flags, 0600);

    if (!prepare_file(fd, path, incoming, errp)) {
        return false;
    }
    l->is_file = use_channel(l, vm_channel_new_pipe(vm_steal_fd(&fd), errp),
                             /* can_answer= */ false);
    return l->is_file;
}

bool mig_link_open(MigLink *l, const char *uri, bool incoming, int cancel_fd,
                   GError **errp)
{
    const char *text;

    g_assert(!incoming || !mig_uri_is_connection(uri));
    if (mig_uri_fd(uri) >= 0) {
        return open_fd(l, mig_uri_fd(uri), incoming, errp);
    }
    if ((text = after(uri, "exec:"))) {
        return open_command(l, text, errp);
    }
    if ((text = after(uri, "file:"))) {
        return open_file(l, text, incoming, errp);
    }
    return use_channel(l, vm_channel_connect(uri, cancel_fd, errp), true);
}

int mig_link_file(const MigLink *l)
{
    return l->is_file ? vm_channel_fd(mig_stream_channel(l->s)) : -1;
}

void mig_link_use(MigLink *l, MigStream *take_s)
{
    l->s = take_s;
    l->can_answer = true;
}

bool mig_link_secure(MigLink *l, TlsCreds *creds, const char *hostname,
                     GError **errp)
{
    if (!l->can_answer) {
        return vm_error_set(errp, 0, "TLS is for connections, and the "
                                     "descriptor is none");
    }
    return tls_channel_secure(mig_stream_channel(l->s), creds, hostname, errp);
}

/* -- the end ------------------------------------------------------------ */

bool mig_link_finish_sending(MigLink *l, bool *ret_void, GError **errp)
{
    *ret_void = false;
    if (l->is_file && fsync(vm_channel_fd(mig_stream_channel(l->s))) != 0) {
        (void)vm_error_set(errp, errno, "cannot write the file");
        mig_link_discard(l);
        *ret_void = true;
        return false;
    }
    mig_stream_end_writes(l->s);
    return !l->command || vm_command_wait(l->command, COMMAND_END_NS, errp);
}

bool mig_link_finish_receiving(MigLink *l, GError **errp)
{
    uint8_t more;

    if (!l->command) {
        return true;
    }
    mig_stream_end_writes(l->s); /* a command that reads, too, may end */
    if (mig_stream_read_control(l->s, &more, 1) != -ENODATA) {
        return vm_error_set(errp, 0, "the command writes on behind the end "
                                     "of the stream");
    }
    return vm_command_wait(l->command, COMMAND_END_NS, errp);
}

void mig_link_discard(MigLink *l)
{
    if (l->is_file) {
        /* Or it stays: without its end, nobody can load it. */
        (void)ftruncate(vm_channel_fd(mig_stream_channel(l->s)), 0);
    }
}

void mig_link_explain(MigLink *l, GError **error)
{
    GError *local = NULL;
    g_autofree char *tls =
        l->s ? vm_channel_explain(mig_stream_channel(l->s)) : NULL;

    if (tls) {
        g_prefix_error(error, "%s: ", tls);
    }
    if (l->command && !vm_command_wait(l->command, COMMAND_DEATH_NS, &local)) {
        if (local->code != ETIMEDOUT) {
            g_prefix_error(error, "%s: ", local->message);
        }
        g_clear_error(&local);
    }
}

void mig_link_flush(MigLink *l)
{
    if (l->command) {
        mig_stream_end_writes(l->s);
        (void)vm_command_wait(l->command, COMMAND_FLUSH_NS, NULL);
    }
}

void mig_link_done(MigLink *l)
{
    g_clear_pointer(&l->s, mig_stream_free);
    g_clear_pointer(&l->command, vm_command_free);
}
