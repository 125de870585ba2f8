/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The I/O thread; see io-thread.c. */
#ifndef VM_SYSTEM_IO_THREAD_H
#define VM_SYSTEM_IO_THREAD_H

#include <glib.h>

typedef struct IoThread IoThread;

IoThread *io_thread_new(void); /* the context; nobody runs it yet */
void io_thread_free(IoThread *t);
void io_thread_start(IoThread *t);
void io_thread_stop(IoThread *t); /* joins; the context stays */
GMainContext *io_thread_context(IoThread *t);

#endif
