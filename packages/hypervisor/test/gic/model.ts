// The delivery rules of IHI 0069 for one Security state, written as one object per interrupt and searched from
// scratch at every question: slow, and with nothing cached that could be stale.

interface ModelInterrupt {
  readonly intid: number;
  group: number;
  enabled: boolean;
  latch: boolean;
  active: boolean;
  line: boolean;
  edge: boolean;
  priority: number;
  /** vCPU, or `any`. */
  target: number | 'any';
}

interface ModelCpu {
  asleep: boolean;
  pmr: number;
  bpr: [number, number];
  cbpr: boolean;
  eoiMode: number;
  groupEnabled: [boolean, boolean];
  /** Active group priorities, by group. */
  activePriorities: [Set<number>, Set<number>];
  banked: ModelInterrupt[];
}

export class GicModel {
  readonly cpus: ModelCpu[] = [];
  readonly spis: ModelInterrupt[] = [];
  groupEnabled: [boolean, boolean] = [false, false];

  constructor(vcpus: number, irqs: number) {
    const make = (intid: number): ModelInterrupt => ({
      intid,
      group: 0,
      enabled: false,
      latch: false,
      active: false,
      line: false,
      edge: intid < 16,
      priority: 0,
      target: 0,
    });
    for (let c = 0; c < vcpus; c++) {
      this.cpus.push({
        asleep: true,
        pmr: 0,
        bpr: [2, 3],
        cbpr: false,
        eoiMode: 0,
        groupEnabled: [false, false],
        activePriorities: [new Set(), new Set()],
        banked: Array.from({ length: 32 }, (_, i) => make(i)),
      });
    }
    for (let i = 32; i < irqs; i++) this.spis.push(make(i));
  }

  interrupt(cpu: number, intid: number): ModelInterrupt {
    return intid < 32 ? this.cpus[cpu]!.banked[intid]! : this.spis[intid - 32]!;
  }

  pending(i: ModelInterrupt): boolean {
    return i.latch || (!i.edge && i.line);
  }

  setLine(i: ModelInterrupt, level: boolean): void {
    if (level && !i.line && i.edge) i.latch = true;
    i.line = level;
  }

  accepts(cpu: number, group: number): boolean {
    const c = this.cpus[cpu]!;
    return !c.asleep && this.groupEnabled[group]! && c.groupEnabled[group]!;
  }

  highest(cpu: number): ModelInterrupt | undefined {
    return [...this.cpus[cpu]!.banked, ...this.spis]
      .filter((i) => i.enabled && !i.active && this.pending(i) && this.accepts(cpu, i.group))
      .filter((i) => {
        if (i.intid < 32) return true;
        if (i.target !== 'any') return i.target === cpu;
        return this.cpus.findIndex((_, c) => this.accepts(c, i.group)) === cpu;
      })
      .sort((a, b) => a.priority - b.priority || a.intid - b.intid)[0];
  }

  groupPriority(cpu: number, priority: number, group: number): number {
    const c = this.cpus[cpu]!;
    const ignored = group === 0 || c.cbpr ? c.bpr[0] + 1 : c.bpr[1];
    return Math.floor(priority / 2 ** ignored) * 2 ** ignored;
  }

  running(cpu: number): number {
    const c = this.cpus[cpu]!;
    return Math.min(0xff, ...c.activePriorities[0], ...c.activePriorities[1]);
  }

  /** 'irq', 'fiq' or nothing. */
  signal(cpu: number): string | undefined {
    const i = this.highest(cpu);
    if (i === undefined || i.priority >= this.cpus[cpu]!.pmr) return undefined;
    if (this.groupPriority(cpu, i.priority, i.group) >= this.running(cpu)) return undefined;
    return i.group === 1 ? 'irq' : 'fiq';
  }

  acknowledge(cpu: number, group: number): number {
    if (this.signal(cpu) !== (group === 1 ? 'irq' : 'fiq')) return 1023;
    const i = this.highest(cpu)!;
    this.cpus[cpu]!.activePriorities[group]!.add(this.groupPriority(cpu, i.priority, group));
    i.active = true;
    i.latch = false;
    return i.intid;
  }

  end(cpu: number, group: number, intid: number): void {
    const c = this.cpus[cpu]!;
    const own = Math.min(...c.activePriorities[group]!);
    if (own === Infinity || own > Math.min(...c.activePriorities[1 - group]!)) return;
    c.activePriorities[group]!.delete(own);
    if (c.eoiMode === 0) this.interrupt(cpu, intid).active = false;
  }
}
