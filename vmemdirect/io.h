/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine's I/O: O_DIRECT reads and writes of the swap file, and holes.
 *
 * One interface, two implementations (io-uring.c, io-aio.c), and a layer that
 * can be put around them (seal.c); unit tests bring a fake. Requests are the
 * caller's and stay untouched until done().
 *
 * Threads: the pager thread only.
 */
#ifndef VMD_IO_H
#define VMD_IO_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum VmdIoOp { VMD_IO_READ, VMD_IO_WRITE, VMD_IO_PUNCH } VmdIoOp;

typedef struct VmdIoRequest VmdIoRequest;
struct VmdIoRequest {
    VmdIoOp op;
    uint64_t offset; /* page multiples, all three */
    uint8_t *buf;
    uint32_t len;
    /* result: 0 or -errno; all of len was done, or an error (-ENODATA: the
     * file is not as long as it was made; -EBADMSG: a page is not what was
     * written). Called from reap(). */
    void (*done)(VmdIoRequest *req, int result);
    uint32_t progress; /* private: bytes done so far */
};

typedef struct VmdIo VmdIo;
typedef struct VmdIoOps {
    const char *name;
    /* 0, or -EAGAIN when the queue is full, or -errno. */
    int (*submit)(VmdIo *io, VmdIoRequest *req);
    /* Hands what was submitted to the kernel. */
    void (*flush)(VmdIo *io);
    /* Delivers completions that are there; returns how many. */
    unsigned (*reap)(VmdIo *io);
    /* Has flush() or reap() more to do, whatever fd() says? NULL: never. */
    bool (*busy)(const VmdIo *io);
    /* Readable when completions may be there. */
    int (*fd)(const VmdIo *io);
    void (*free)(VmdIo *io);
} VmdIoOps;

struct VmdIo {
    const VmdIoOps *ops;
};

/* bytes: the length that the file was made with; not used for a device. */
VmdIo *vmd_io_uring_new(int fd, uint64_t bytes, unsigned depth,
                        GError **errp);
VmdIo *vmd_io_aio_new(int fd, uint64_t bytes, unsigned depth, GError **errp);

/*
 * The file behind the I/O. If somebody cuts it, what was beyond the cut is
 * lost; and a write would make it longer again, so that the lost part reads
 * as zeros. So its length is looked at before each write (0.3 us), and once
 * it was found too short nothing is written any more and nothing read beyond
 * the cut, nor from holes, even if the length comes back.
 */
typedef struct VmdIoFile {
    int fd;
    uint64_t bytes;        /* 0: a device */
    uint64_t intact_bytes; /* what is still as it was written */
} VmdIoFile;
void vmd_io_file_init(VmdIoFile *file, int fd, uint64_t bytes);
/* 0, or -ENODATA: the request may not be made. */
int vmd_io_file_check(VmdIoFile *file, const VmdIoRequest *req);

/*
 * What a finished system call means: more to do (true: *req advanced, submit
 * again), or done() with 0 or -errno. End of file is -ENODATA: the swap file
 * has its full length, so somebody else cut it.
 */
bool vmd_io_advance(VmdIoFile *file, VmdIoRequest *req, int64_t result,
                    int *ret_result);

#endif
