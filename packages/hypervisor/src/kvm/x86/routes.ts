import { HypervisorError } from '../../errors.ts';
import { invalid } from '../../state-codec.ts';
import { checkUnsigned } from '../../validate.ts';
import type { GsiRoute, MsiMessage } from '../../x86.ts';
import {
  IRQ_ROUTING_ENTRY_SIZE,
  IRQ_ROUTING_HEADER_SIZE,
  KVM_IRQ_ROUTING_IRQCHIP,
  KVM_IRQ_ROUTING_MSI,
  KVM_MAX_IRQ_ROUTES,
} from '../uapi.ts';
import { KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE } from './uapi.ts';

/** Chips by KVM's number, with their pins. */
const CHIPS = [
  { name: 'pic-master', number: KVM_IRQCHIP_PIC_MASTER, pins: 8 },
  { name: 'pic-slave', number: KVM_IRQCHIP_PIC_SLAVE, pins: 8 },
  { name: 'ioapic', number: KVM_IRQCHIP_IOAPIC, pins: 24 },
] as const;

/** @throws HypervisorError `INVALID_ARGUMENT` unless KVM's routing tables may have such a GSI. */
export function checkGsi(gsi: number): void {
  if (!Number.isInteger(gsi) || gsi < 0 || gsi >= KVM_MAX_IRQ_ROUTES) {
    throw new HypervisorError(
      'INVALID_ARGUMENT',
      `there is no GSI ${gsi}: they are 0 to ${KVM_MAX_IRQ_ROUTES - 1}`,
    );
  }
}

/** @throws HypervisorError `INVALID_ARGUMENT` unless all fields have 32 bits. */
export function checkMessage({ address, addressHigh, data }: MsiMessage): void {
  checkUnsigned('address of a message', address, 4);
  checkUnsigned('high half of the address of a message', addressHigh, 4);
  checkUnsigned('data of a message', data, 4);
}

/**
 * struct kvm_irq_routing
 *
 * @throws HypervisorError `INVALID_ARGUMENT`
 */
export function encodeRoutes(routes: readonly GsiRoute[], mode: 'kernel' | 'split'): Uint8Array {
  if (routes.length > KVM_MAX_IRQ_ROUTES) {
    throw new HypervisorError('INVALID_ARGUMENT', `${routes.length} routes: KVM takes ${KVM_MAX_IRQ_ROUTES}`);
  }
  const bytes = new Uint8Array(IRQ_ROUTING_HEADER_SIZE + routes.length * IRQ_ROUTING_ENTRY_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, routes.length, true);
  routes.forEach((route, index) => {
    checkGsi(route.gsi);
    const at = IRQ_ROUTING_HEADER_SIZE + index * IRQ_ROUTING_ENTRY_SIZE;
    view.setUint32(at, route.gsi, true);
    if (route.kind === 'msi') {
      checkMessage(route.message);
      view.setUint32(at + 4, KVM_IRQ_ROUTING_MSI, true);
      view.setUint32(at + 16, route.message.address, true);
      view.setUint32(at + 20, route.message.addressHigh, true);
      view.setUint32(at + 24, route.message.data, true);
      return;
    }
    const chip = CHIPS.find(({ name }) => name === route.chip);
    const { pin } = route;
    if (mode === 'split' || chip === undefined || !Number.isInteger(pin) || pin < 0 || pin >= chip.pins) {
      throw new HypervisorError(
        'INVALID_ARGUMENT',
        `GSI ${route.gsi}: a ${mode} interrupt controller has no pin ${pin} of '${route.chip}'`,
      );
    }
    view.setUint32(at + 4, KVM_IRQ_ROUTING_IRQCHIP, true);
    view.setUint32(at + 16, chip.number, true);
    view.setUint32(at + 20, pin, true);
  });
  return bytes;
}

/**
 * Routes of a saved struct kvm_irq_routing.
 *
 * @throws HypervisorError `INVALID_ARGUMENT`
 */
export function decodeRoutes(what: string, bytes: Uint8Array): GsiRoute[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = bytes.length < IRQ_ROUTING_HEADER_SIZE ? -1 : view.getUint32(0, true);
  if (count < 0 || bytes.length !== IRQ_ROUTING_HEADER_SIZE + count * IRQ_ROUTING_ENTRY_SIZE) {
    throw invalid(what, 'its routes are cut off');
  }
  return Array.from({ length: count }, (_, index): GsiRoute => {
    const at = IRQ_ROUTING_HEADER_SIZE + index * IRQ_ROUTING_ENTRY_SIZE;
    const word = (offset: number): number => view.getUint32(at + offset, true);
    const gsi = word(0);
    if (word(4) === KVM_IRQ_ROUTING_MSI) {
      return { gsi, kind: 'msi', message: { address: word(16), addressHigh: word(20), data: word(24) } };
    }
    const chip = CHIPS.find(({ number }) => number === word(16));
    if (word(4) !== KVM_IRQ_ROUTING_IRQCHIP || chip === undefined) {
      throw invalid(what, `its route of GSI ${gsi} is of an unknown kind`);
    }
    return { gsi, kind: 'irqchip', chip: chip.name, pin: word(20) };
  });
}
