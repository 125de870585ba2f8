/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the two I/O implementations share: short transfers. See io.h. */
#include "io.h"

#include <errno.h>

bool vmd_io_advance(VmdIoRequest *req, int64_t result, int *ret_result)
{
    if (req->op == VMD_IO_PUNCH) {
        *ret_result = result < 0 ? (int)result : 0;
        return false;
    }
    if (result < 0) {
        *ret_result = (int)result;
        return false;
    }
    /* A remainder that O_DIRECT cannot take is a failure of the device. */
    if (result == 0 || result % 512 != 0 ||
        (uint64_t)result > req->len - req->progress) {
        *ret_result = -EIO;
        return false;
    }
    req->progress += (uint32_t)result;
    *ret_result = 0;
    return req->progress < req->len;
}
