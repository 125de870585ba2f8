/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What both boards' DSDTs share: inside \_SB.PCI0, before its bridges.
 *
 * P64B, P64L (64-bit window: base, length) and COMS (which serial ports are
 * there) come from the SSDT, which the board makes at start.
 */

    /* ACPI 6.3, 6.4: what the bridge passes on. 0xcf8-0xcff is its own. */
    Name (CRES, ResourceTemplate ()
    {
        WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
            0x0000, 0x0000, 0x00FF, 0x0000, 0x0100)
        IO (Decode16, 0x0CF8, 0x0CF8, 0x01, 0x08)
        WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
            0x0000, 0x0000, 0x0CF7, 0x0000, 0x0CF8)
        WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
            0x0000, 0x0D00, 0xFFFF, 0x0000, 0xF300)
        DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
            NonCacheable, ReadWrite,
            0x00000000, 0xC0000000, 0xFEBFFFFF, 0x00000000, 0x3EC00000)
        QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
            Cacheable, ReadWrite,
            0x0000000000000000, 0x0000000100000000, 0x00000001FFFFFFFF,
            0x0000000000000000, 0x0000000100000000,,,
            PW64, AddressRangeMemory, TypeStatic)
    })
    Method (_CRS, 0, Serialized)
    {
        CreateQWordField (CRES, \_SB.PCI0.PW64._MIN, WMIN)
        CreateQWordField (CRES, \_SB.PCI0.PW64._MAX, WMAX)
        CreateQWordField (CRES, \_SB.PCI0.PW64._LEN, WLEN)
        WMIN = \P64B
        WLEN = \P64L
        WMAX = \P64B + \P64L - 1
        Return (CRES)
    }

    /*
     * Pin p of slot s is GSI 16 + (s + p) % 4, fixed (hw/pci/pci.h). Made
     * here rather than written out for 32 slots.
     */
    Method (_PRT, 0, Serialized)
    {
        Local0 = Package (128) {}
        Local1 = 0
        While (Local1 < 128)
        {
            Local2 = Package (4) { 0, 0, 0, 0 }
            Local3 = Local1 >> 2    /* slot */
            Local2 [0] = (Local3 << 16) | 0xFFFF
            Local2 [1] = Local1 & 3 /* pin */
            Local2 [3] = 16 + ((Local3 + (Local1 & 3)) & 3)
            Local0 [Local1] = Local2
            Local1++
        }
        Return (Local0)
    }
