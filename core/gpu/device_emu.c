/* Devices of the PTX emulator. */
#include "core/gpu/device_maker.h"

Device *device_emu_open(const Arch *arch, Err *err)
{
    return fail(err, E_UNSUPPORTED, "emu:%s: this build has no emulator", arch->name), NULL;
}
