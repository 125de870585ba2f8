/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Contract in chunk-size.h. */
#include "chunk-size.h"

bool mig_chunks_can_send(uint32_t own, uint32_t chunk_pages)
{
    return chunk_pages > 0 && own % chunk_pages == 0;
}

bool mig_chunks_can_receive(uint32_t own, uint32_t chunk_pages)
{
    return mig_chunks_can_send(own, chunk_pages) ||
           (chunk_pages <= RAM_CHUNK_PAGES_MAX && chunk_pages % own == 0);
}

void mig_chunks_init(MigChunks *ret, const MigrationVm *vm,
                     uint32_t chunk_pages)
{
    const RamPlacement *own = vm->placement;
    uint32_t own_pages = own->ops->chunk_pages(own->opaque);
    uint64_t pages = ram_block_pages(vm->ram);

    *ret = (MigChunks){ .placement = own };
    if (chunk_pages == own_pages) {
        return;
    }
    if (own->ops->budget_pages(own->opaque) == UINT64_MAX) {
        ret->owned = ram_plain_placement_new(vm->ram, chunk_pages);
        ret->free_owned = ram_plain_placement_free;
    } else if (mig_chunks_can_send(own_pages, chunk_pages)) {
        ret->owned = ram_finer_placement_new(own, pages, chunk_pages);
        ret->free_owned = ram_finer_placement_free;
    } else {
        ret->owned = ram_coarser_placement_new(own, pages, chunk_pages);
        ret->free_owned = ram_coarser_placement_free;
    }
    ret->placement = ret->owned;
}

void mig_chunks_done(MigChunks *chunks)
{
    if (chunks->owned) {
        chunks->free_owned(chunks->owned);
        chunks->owned = NULL;
    }
}
