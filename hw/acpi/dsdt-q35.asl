/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DSDT of "q35": PCI Express host bridge, LPC bridge in slot 31, ECAM window
 * as a motherboard resource (PCI Firmware 3.2, 4.1.2).
 */
DefinitionBlock ("dsdt-q35.aml", "DSDT", 2, "VMD", "Q35", 1)
{
    External (\P64B, IntObj)
    External (\P64L, IntObj)
    External (\COMS, IntObj)

    /* SLP_TYP 0 for both blocks; no other sleep state (hw/acpi/pm.h). */
    Name (\_S5, Package () { 0, 0, 0, 0 })

    Scope (\_SB)
    {
        Device (DRAC)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                DWordMemory (ResourceConsumer, PosDecode, MinFixed, MaxFixed,
                    NonCacheable, ReadWrite,
                    0x00000000, 0xB0000000, 0xBFFFFFFF, 0x00000000,
                    0x10000000)
            })
        }

        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A08"))
            Name (_CID, EisaId ("PNP0A03"))
            Name (_UID, 0)

            /* PCI Firmware 3.2, 4.5.1: no hot-plug, PME or AER is ours to
             * hand over; only the capability structures (bit 4). */
            Method (_OSC, 4)
            {
                CreateDWordField (Arg3, 0, CDW1)
                If (Arg0 == ToUUID ("33db4d5b-1ff7-401c-9657-7441c03dd766"))
                {
                    CreateDWordField (Arg3, 8, CDW3)
                    Local0 = CDW3 & 0x10
                    If (Arg1 != 1) { CDW1 |= 0x08 }
                    If (CDW3 != Local0) { CDW1 |= 0x10 }
                    CDW3 = Local0
                }
                Else
                {
                    CDW1 |= 0x04
                }
                Return (Arg3)
            }

            Include ("common.asl")

            Device (ISA)
            {
                Name (_ADR, 0x001F0000)
                Include ("isa.asl")
            }
        }
    }
}
