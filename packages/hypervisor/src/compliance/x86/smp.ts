import { DATA, MMIO } from '../machine.ts';
import { RealModeAssembler } from './assembler.ts';
import { APIC, setUpLocalApic, waitForInterrupts } from './interrupt-guest.ts';
import { X86Machine } from './machine.ts';
import type { X86Test } from './test.ts';
import { test } from './test.ts';

/** Where the second vCPU begins: a page below 1 MiB, whose number is the vector of the start-up IPI. */
const START_PAGE = 8;
const START_PORT = 0x80;

// Interrupt command register (Intel SDM Vol. 3 §11.6.1): destination in bits 31:24 of the high half.
const DESTINATION_1 = 1 << 24;
const ICR_INIT = 0x4500;
const ICR_STARTUP = 0x4600;
const ICR_FIXED = 0x4000;

export const smpTests: readonly X86Test[] = [
  test(
    'a second vCPU is started by INIT and SIPI, in real mode at the page that was asked for',
    async (context) => {
      await using machine = await X86Machine.create(context, { vcpus: 2, interrupts: true });
      const { vm, vcpu } = machine;
      const { assert } = context;
      const second = vm.createVcpu(1);
      const low = vm.mapMemory(START_PAGE * 0x1000, 0x1000);
      low.bytes.set(
        new RealModeAssembler().movAl(0x5a).outAl(START_PORT).label('end').hlt().jmp('end').bytes(),
      );
      machine.assemble((a) => {
        setUpLocalApic(a);
        a.storeImmediate(DESTINATION_1, 'rsi', APIC.ICR_HIGH).storeImmediate(ICR_INIT, 'rsi', APIC.ICR_LOW);
        a.storeImmediate(DESTINATION_1, 'rsi', APIC.ICR_HIGH);
        a.storeImmediate(ICR_STARTUP + START_PAGE, 'rsi', APIC.ICR_LOW);
        a.movImmediate('rdi', MMIO).store(4, 'rax', 'rdi').label('end').hlt().jmp('end');
      });
      const seen: unknown[] = [];
      const threads = [
        vcpu.start(() => 'resume'),
        second.start((exit) => {
          const { port, value } = machine.io(exit);
          seen.push(port, value);
          return 'stop';
        }),
      ];
      await threads[1];
      await vcpu.stop();
      await threads[0];
      assert.equal(seen, [START_PORT, 0x5a], 'what the second vCPU wrote');
      assert.equal(second.mpState, 'runnable', 'its state');
      const { cs, cr0 } = second.getSpecialRegisters();
      assert.equal(
        [cs.selector, cs.base, cr0 & 1n],
        [START_PAGE << 8, BigInt(START_PAGE << 12), 0n],
        'CS, CR0.PE',
      );
    },
    ['smp'],
  ),

  test(
    'a vCPU interrupts another one, and wakes it from HLT',
    async (context) => {
      const vector = 0x71;
      await using machine = await X86Machine.create(context, { vcpus: 2, interrupts: true });
      const { vm, vcpu } = machine;
      const second = vm.createVcpu(1);
      machine.assembleWithInterrupts((a) => {
        a.test('r8', 'r8').jcc('ne', 'second');
        setUpLocalApic(a);
        a.movImmediate('rbx', DATA).label('poll').load(4, 'rax', 'rbx').test('rax', 'rax').jcc('e', 'poll');
        a.storeImmediate(DESTINATION_1, 'rsi', APIC.ICR_HIGH);
        a.storeImmediate(ICR_FIXED + vector, 'rsi', APIC.ICR_LOW);
        a.label('end').hlt().jmp('end').label('second');
        setUpLocalApic(a);
        waitForInterrupts(a);
      });
      const { idt } = vcpu.getSpecialRegisters();
      machine.begin(second, Number(vcpu.getRegister('rip')));
      second.setSpecialRegisters({ idt });
      second.setRegister('r8', 1n);
      second.mpState = 'runnable';
      const seen: number[] = [];
      const threads = [
        vcpu.start(() => 'resume'),
        second.start((exit) => {
          const { address, value } = machine.mmio(exit);
          seen.push(address - MMIO, value);
          if (seen.length === 2) machine.ram.bytes[DATA - machine.ram.guestAddress] = 1;
          return seen.length === 4 ? 'stop' : 'resume';
        }),
      ];
      await threads[1];
      await vcpu.stop();
      await threads[0];
      context.assert.equal(seen, [0, 0, 4, vector], 'READY, then the interrupt');
    },
    ['smp'],
  ),
];
