/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * labexit STATUS: ends the lab host with an exit status.
 *
 * Writes STATUS to QEMU's isa-debug-exit port 0xf4; the emulator then exits
 * with (STATUS << 1) | 1, which no crash of it looks like. The kernel has no
 * /dev/port, hence ioperm(). Does not return when it works.
 */
#include <stdlib.h>
#include <sys/io.h>
#include <unistd.h>

#define DEBUG_EXIT_PORT 0xf4

int main(int argc, char **argv)
{
    unsigned long status = argc == 2 ? strtoul(argv[1], NULL, 10) : 127;

    sync();
    if (ioperm(DEBUG_EXIT_PORT, 4, 1) < 0) {
        return 1;
    }
    outb((unsigned char)status, DEBUG_EXIT_PORT);
    for (;;) {
        pause();
    }
}
