import type { GuestMemory } from '@vmm/vm-memory';
import { ACPI_RESET_PORT, ACPI_RESET_VALUE } from './layout.ts';

/** F000:FFF0, where firmware takes over after a reset in real mode (Intel SDM Vol. 3 §10.1.4, and every PC since). */
export const RESET_VECTOR = 0xffff0;

/** Instructions of real mode: `cli; mov dx, port; mov al, value; out dx, al; hlt; jmp` back to the `hlt`. */
const RESET_CODE: readonly number[] = [
  0xfa,
  ...[0xba, ACPI_RESET_PORT & 0xff, ACPI_RESET_PORT >> 8],
  ...[0xb0, ACPI_RESET_VALUE],
  0xee,
  0xf4,
  ...[0xeb, 0xfd],
];

/**
 * Puts code at the {@link RESET_VECTOR} that writes the ACPI reset register. On a hardware-reduced platform Linux reboots
 * through EFI, and where there is none by a jump to this address, unless `reboot=acpi` tells it otherwise; without the
 * code it would run through empty memory and hang.
 *
 * @throws VmMemoryError where guest memory does not reach so far
 */
export function writeResetVector(memory: GuestMemory): void {
  memory.write(RESET_VECTOR, Uint8Array.from(RESET_CODE));
}
