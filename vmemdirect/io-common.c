/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the two I/O implementations share: short transfers, and a file that
 * somebody else has cut. See io.h. Threads: the pager thread.
 */
#include "io.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

void vmd_io_file_init(VmdIoFile *file, int fd, uint64_t bytes)
{
    struct stat st;

    *file = (VmdIoFile){ .fd = fd };
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        file->bytes = bytes;
        file->intact_bytes = bytes;
    }
}

static void measure(VmdIoFile *file)
{
    struct stat st;

    if (fstat(file->fd, &st) == 0 &&
        (uint64_t)st.st_size < file->intact_bytes) {
        file->intact_bytes = (uint64_t)st.st_size;
    }
}

/* Of a file that was cut: was the range, too? A write that was in flight then
 * may have made the file longer than the cut; what lies between the two is a
 * hole, where no page that we wrote is. */
static bool is_lost(const VmdIoFile *file, const VmdIoRequest *req)
{
    off_t end = (off_t)(req->offset + req->len);

    return (uint64_t)end > file->intact_bytes ||
           lseek(file->fd, (off_t)req->offset, SEEK_HOLE) < end;
}

int vmd_io_file_check(VmdIoFile *file, const VmdIoRequest *req)
{
    bool lost = false;

    if (file->bytes == 0 || req->op == VMD_IO_PUNCH) {
        return 0;
    }
    if (req->op == VMD_IO_READ) {
        lost = file->intact_bytes < file->bytes && is_lost(file, req);
    } else {
        measure(file);
        lost = file->intact_bytes < file->bytes;
    }
    return lost ? -ENODATA : 0;
}

bool vmd_io_advance(VmdIoFile *file, VmdIoRequest *req, int64_t result,
                    int *ret_result)
{
    if (req->op == VMD_IO_PUNCH) {
        *ret_result = result < 0 ? (int)result : 0;
        return false;
    }
    if (result < 0) {
        *ret_result = (int)result;
        return false;
    }
    if (result == 0) {
        measure(file);
        *ret_result = -ENODATA;
        return false;
    }
    /* A remainder that O_DIRECT cannot take is a failure of the device. */
    if (result % 512 != 0 ||
        (uint64_t)result > req->len - req->progress) {
        measure(file);
        *ret_result = -EIO;
        return false;
    }
    req->progress += (uint32_t)result;
    *ret_result = 0;
    return req->progress < req->len;
}
