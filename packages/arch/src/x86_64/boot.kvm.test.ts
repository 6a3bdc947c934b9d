import { jest } from '@jest/globals';
import { existsSync } from 'node:fs';
import type { VcpuExit } from '@vmm/hypervisor';
import { createKvmX86Hypervisor } from '@vmm/hypervisor/kvm';
import { GuestMemory } from '@vmm/vm-memory';
import { MIB } from '../../test/support.ts';
import { elf, pvhNotes } from '../../test/x86.ts';
import type { BootProtocol } from './index.ts';
import {
  configureBootCpu,
  configureSecondaryCpu,
  cpuidFor,
  loadKernel,
  memoryRegions,
  writeBootInformation,
} from './index.ts';

// A run takes milliseconds; only a guest that tells nothing reaches this.
jest.setTimeout(120_000);

const VCPUS = 2;
/** Where SIPI vector 8 starts a processor. */
const AP_ENTRY = 0x8000;

const code = (...lines: readonly string[]): Uint8Array =>
  Uint8Array.from(lines.flatMap((line) => line.split(' ').map((byte) => Number.parseInt(byte, 16))));

/** Tells setup_header's magic, CS after a far return, and the x2APIC identifier, then starts the other processor. */
const LONG_MODE = code(
  '66 ba f8 03', //          mov dx, 0x3f8
  '8b 86 02 02 00 00', //    mov eax, [rsi + 0x202]
  'ef', //                   out dx, eax
  'b8 18 00 00 00', //       mov eax, 0x18
  '8e d8 8e d0', //          mov ds, eax; mov ss, eax
  'bc 00 10 10 00', //       mov esp, 0x101000
  '6a 10', //                push 0x10
  '48 8d 05 03 00 00 00', // lea rax, [rip + 3]
  '50 48 cb', //             push rax; retf
  '8c c8 ef', //             mov eax, cs; out dx, eax
  'b8 0b 00 00 00', //       mov eax, 0xb
  '31 c9 0f a2', //          xor ecx, ecx; cpuid
  '89 d0', //                mov eax, edx
  '66 ba f8 03 ef', //       mov dx, 0x3f8; out dx, eax
  'b9 1b 00 00 00 0f 32', // mov ecx, IA32_APIC_BASE; rdmsr
  '0d 00 04 00 00 0f 30', // or eax, 1 << 10 (x2APIC); wrmsr
  'ba 01 00 00 00', //       mov edx, 1 (destination)
  'b9 30 08 00 00', //       mov ecx, IA32_X2APIC_ICR
  'b8 00 45 00 00 0f 30', // mov eax, INIT; wrmsr
  'b8 08 46 00 00 0f 30', // mov eax, SIPI | 8; wrmsr
  'f4 eb fd', //             hlt, for ever
);

/** Tells hvm_start_info's magic, CS after a far jump, and CR0. */
const PROTECTED_MODE = code(
  '66 ba f8 03', //          mov dx, 0x3f8
  '8b 03 ef', //             mov eax, [ebx]; out dx, eax
  'b8 18 00 00 00', //       mov eax, 0x18
  '8e d8 8e d0', //          mov ds, eax; mov ss, eax
  'bc 00 10 10 00', //       mov esp, 0x101000
  'ea 1c 02 10 00 10 00', // jmp 0x10:0x10021c
  '8c c8 ef', //             mov eax, cs; out dx, eax
  '0f 20 c0 ef', //          mov eax, cr0; out dx, eax
  'f4 eb fd', //             hlt, for ever
);

/** Tells that it runs, in real mode. */
const REAL_MODE = code(
  'ba f8 03', // mov dx, 0x3f8
  'b0 41 ee', // mov al, 0x41; out dx, al
  'f4 eb fd', // hlt, for ever
);

const KERNEL = elf({
  entry: 0x10_0000n,
  segments: [
    { guestAddress: 0x10_0000n, data: LONG_MODE },
    { guestAddress: 0x10_0200n, data: PROTECTED_MODE },
    pvhNotes(0x10_0200n),
  ],
});

/** Boots the program and answers the first `count` values that it sends to port 0x3f8, with the vCPU each is from. */
async function boot(protocol: BootProtocol, count: number): Promise<[vcpu: number, value: number][]> {
  const hypervisor = createKvmX86Hypervisor();
  const bytes = 64 * MIB;
  await using vm = await hypervisor.createVm({ vcpus: VCPUS, maxMemory: bytes });
  vm.createIrqChip({ mode: 'kernel' });
  const memory = new GuestMemory(
    memoryRegions(bytes).map(({ guestAddress, size }) => vm.mapMemory(guestAddress, size)),
  );
  memory.write(AP_ENTRY, REAL_MODE);
  const state = writeBootInformation(memory, await loadKernel(memory, KERNEL, { protocol }));
  const supported = await hypervisor.supportedCpuid();
  const vcpus = Array.from({ length: VCPUS }, (_, id) => {
    const cpuid = cpuidFor(supported, { id, vcpus: VCPUS });
    const vcpu = vm.createVcpu(id);
    return id === 0
      ? configureBootCpu(vcpu, memory, state, { cpuid })
      : configureSecondaryCpu(vcpu, { cpuid });
  });
  const told: [number, number][] = [];
  await new Promise<void>((resolve, reject) => {
    for (const vcpu of vcpus) {
      const handler = (exit: VcpuExit): 'resume' | 'stop' => {
        if (exit.reason !== 'io' || exit.port !== 0x3f8) {
          reject(new Error(`vCPU ${vcpu.id}: ${JSON.stringify(exit)}`));
          return 'stop';
        }
        told.push([vcpu.id, exit.value]);
        if (told.length === count) resolve();
        return 'resume';
      };
      vcpu.start(handler).catch(reject);
    }
  });
  await Promise.all(vcpus.map((vcpu) => vcpu.stop()));
  return told;
}

// Where there is none, the emulated machine's stock kernels show the same: each is entered, and starts its vCPUs, so.
const describeOnKvm = process.arch === 'x64' && existsSync('/dev/kvm') ? describe : undefined;

if (describeOnKvm === undefined) {
  it('a machine without KVM for x86-64 says so', async () => {
    await expect(createKvmX86Hypervisor().createVm({ vcpus: 1, maxMemory: MIB })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
    });
  });
}

describeOnKvm?.('a program under KVM', () => {
  it('is entered in long mode by linux64, and starts the other vCPU by INIT and SIPI', async () => {
    expect(await boot('linux64', 4)).toEqual([
      [0, 0x5372_6448],
      [0, 0x10],
      [0, 0],
      [1, 0x41],
    ]);
  });

  it('is entered in protected mode by pvh', async () => {
    expect(await boot('pvh', 3)).toEqual([
      [0, 0x336e_c578],
      [0, 0x10],
      [0, 0x11],
    ]);
  });
});
