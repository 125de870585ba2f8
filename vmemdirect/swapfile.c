/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The swap file; contract in swapfile.h. Threads: main thread. */
#include "swapfile.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "util/error.h"
#include "util/fd.h"
#include "util/size.h"

#define MARK "user.vmemdirect.swap" /* on files that we made */

typedef struct SwapFile {
    const char *path;
    int fd;
    bool made; /* by us, just now */
    bool device;
} SwapFile;

/* Opens what is there, else makes it: only then may it be removed again. */
static bool open_or_make(SwapFile *sf, GError **errp)
{
    int flags = O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

    sf->fd = open(sf->path, flags);
    if (sf->fd < 0 && errno == ENOENT) {
        sf->fd = open(sf->path, flags | O_CREAT | O_EXCL, 0600);
        sf->made = sf->fd >= 0;
    }
    if (sf->fd < 0) {
        return vm_error_set(errp, errno, "vmemdirect: swap file '%s'",
                            sf->path);
    }
    return true;
}

static bool check_kind(SwapFile *sf, GError **errp)
{
    struct stat st;
    char mark[8];

    if (fstat(sf->fd, &st) < 0) {
        return vm_error_set(errp, errno, "vmemdirect: swap file '%s'",
                            sf->path);
    }
    sf->device = S_ISBLK(st.st_mode);
    if (!sf->device && !S_ISREG(st.st_mode)) {
        return vm_error_set(errp, 0,
                            "vmemdirect: swap file '%s': neither a regular "
                            "file nor a block device",
                            sf->path);
    }
    if (!sf->device && st.st_size > 0 &&
        fgetxattr(sf->fd, MARK, mark, sizeof(mark)) < 0) {
        return vm_error_set(errp, 0,
                            "vmemdirect: swap file '%s': has content that is "
                            "not ours; remove it or choose another name",
                            sf->path);
    }
    return true;
}

static bool lock(SwapFile *sf, GError **errp)
{
    if (flock(sf->fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK) {
            return vm_error_set(errp, 0,
                                "vmemdirect: swap file '%s' is in use by "
                                "another VM",
                                sf->path);
        }
        return vm_error_set(errp, errno, "vmemdirect: cannot lock '%s'",
                            sf->path);
    }
    return true;
}

/* O_DIRECT must be taken and really work, with page alignment. */
static bool check_direct(SwapFile *sf, GError **errp)
{
    _Alignas(4096) uint8_t buf[4096];
    int flags = fcntl(sf->fd, F_GETFL);
    int error = 0;

    if (flags < 0 ||
        fcntl(sf->fd, F_SETFL, (flags & ~O_NONBLOCK) | O_DIRECT) < 0) {
        error = errno;
    } else if (pread(sf->fd, buf, sizeof(buf), 0) < 0) {
        error = errno;
    }
    if (error == EINVAL) {
        return vm_error_set(errp, 0,
                            "vmemdirect: swap file '%s': its file system has "
                            "no O_DIRECT; use ext4, xfs or a block device",
                            sf->path);
    }
    if (error) {
        return vm_error_set(errp, error, "vmemdirect: swap file '%s'",
                            sf->path);
    }
    return true;
}

static bool too_small(const SwapFile *sf, const char *what, uint64_t has,
                      uint64_t needs, GError **errp)
{
    g_autofree char *has_text = vm_size_to_string(has);
    g_autofree char *needs_text = vm_size_to_string(needs);

    return vm_error_set(errp, 0,
                        "vmemdirect: swap file '%s': %s has %s, but %s may "
                        "have to be swapped out",
                        sf->path, what, has_text, needs_text);
}

static bool check_file_system(SwapFile *sf, uint64_t least_bytes,
                              GError **errp)
{
    struct statvfs vfs;
    if (fstatvfs(sf->fd, &vfs) < 0) {
        return vm_error_set(errp, errno, "vmemdirect: swap file '%s'",
                            sf->path);
    }
    /* The file is sparse and others come and go: only what can never fit is
     * refused. f_blocks 0: the file system does not say. */
    uint64_t has = (uint64_t)vfs.f_blocks * vfs.f_frsize;
    return has == 0 || has >= least_bytes ||
           too_small(sf, "the file system", has, least_bytes, errp);
}

static bool check_room(SwapFile *sf, uint64_t bytes, uint64_t least_bytes,
                       GError **errp)
{
    if (sf->device) {
        uint64_t has = 0;
        if (ioctl(sf->fd, BLKGETSIZE64, &has) < 0) {
            return vm_error_set(errp, errno, "vmemdirect: size of '%s'",
                                sf->path);
        }
        /* The offset is the guest's address: all of it must exist. */
        return has >= bytes || too_small(sf, "the device", has, bytes, errp);
    }
    return check_file_system(sf, least_bytes, errp);
}

bool vmd_swapfile_check_room(int fd, const char *path, uint64_t least_bytes,
                             GError **errp)
{
    SwapFile sf = { .path = path, .fd = fd };
    struct stat st;

    if (fstat(fd, &st) < 0) {
        return vm_error_set(errp, errno, "vmemdirect: swap file '%s'", path);
    }
    return S_ISBLK(st.st_mode) || check_file_system(&sf, least_bytes, errp);
}
static bool set_length(SwapFile *sf, uint64_t bytes, GError **errp)
{
    if (sf->device) {
        return true;
    }
    if (ftruncate(sf->fd, 0) < 0 || ftruncate(sf->fd, (off_t)bytes) < 0) {
        return vm_error_set(errp, errno,
                            "vmemdirect: swap file '%s': cannot make it "
                            "%" PRIu64 " bytes long",
                            sf->path, bytes);
    }
    return true;
}

int vmd_swapfile_open(const char *path, uint64_t bytes, uint64_t least_bytes,
                      bool keep, GError **errp)
{
    SwapFile sf = { .path = path, .fd = -1 };

    if (!open_or_make(&sf, errp)) {
        return -1;
    }
    if (!check_kind(&sf, errp) || !lock(&sf, errp) ||
        !check_direct(&sf, errp) ||
        !check_room(&sf, bytes, least_bytes, errp) ||
        !set_length(&sf, bytes, errp)) {
        if (sf.made) {
            (void)unlink(path);
        }
        vm_close_fd(&sf.fd);
        return -1;
    }
    if (!sf.device && keep) {
        /* Without the mark a later start refuses the file: that is safe. */
        (void)fsetxattr(sf.fd, MARK, "1", 1, 0);
    } else if (!sf.device) {
        (void)unlink(path);
    }
    return sf.fd;
}
