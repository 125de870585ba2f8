/* SPDX-License-Identifier: GPL-2.0-or-later */
/* DSDT of "pc": conventional PCI host bridge, ISA bridge in slot 1. */
DefinitionBlock ("dsdt-pc.aml", "DSDT", 2, "VMD", "PC", 1)
{
    External (\P64B, IntObj)
    External (\P64L, IntObj)
    External (\COMS, IntObj)

    /* SLP_TYP 0 for both blocks; no other sleep state (hw/acpi/pm.h). */
    Name (\_S5, Package () { 0, 0, 0, 0 })

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Include ("common.asl")

            Device (ISA)
            {
                Name (_ADR, 0x00010000)
                Include ("isa.asl")
            }
        }
    }
}
