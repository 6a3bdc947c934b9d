// The delivery rules of IHI 0048, one object per interrupt and searched from scratch at every question.

interface ModelInterrupt {
  readonly intid: number;
  group: number;
  enabled: boolean;
  latch: boolean;
  active: boolean;
  line: boolean;
  edge: boolean;
  priority: number;
  targets: number;
  /** Senders of an SGI. */
  readonly sources: Set<number>;
}

interface ModelCpu {
  groups: [boolean, boolean];
  ackCtl: boolean;
  fiqEn: boolean;
  cbpr: boolean;
  eoiMode: boolean;
  pmr: number;
  bpr: number;
  abpr: number;
  readonly active: [Set<number>, Set<number>];
  readonly banked: ModelInterrupt[];
}

export class GicV2Model {
  groups: [boolean, boolean] = [false, false];
  readonly cpus: ModelCpu[];
  readonly spis: ModelInterrupt[];

  constructor(cpus: number, irqs: number) {
    const make = (intid: number): ModelInterrupt => ({
      intid,
      group: 0,
      enabled: false,
      latch: false,
      active: false,
      line: false,
      edge: intid < 16,
      priority: 0,
      targets: cpus === 1 ? 1 : 0,
      sources: new Set(),
    });
    this.cpus = Array.from({ length: cpus }, () => ({
      groups: [false, false],
      ackCtl: false,
      fiqEn: false,
      cbpr: false,
      eoiMode: false,
      pmr: 0,
      bpr: 2,
      abpr: 3,
      active: [new Set<number>(), new Set<number>()],
      banked: Array.from({ length: 32 }, (_, i) => make(i)),
    }));
    this.spis = Array.from({ length: irqs - 32 }, (_, i) => make(32 + i));
  }

  interrupt(cpu: number, intid: number): ModelInterrupt {
    return intid < 32 ? this.cpus[cpu]!.banked[intid]! : this.spis[intid - 32]!;
  }

  pending(i: ModelInterrupt): boolean {
    return i.intid < 16 ? i.sources.size > 0 : i.latch || (!i.edge && i.line);
  }

  setLine(i: ModelInterrupt, level: boolean): void {
    if (level && !i.line && i.edge) i.latch = true;
    i.line = level;
  }

  highest(cpu: number): ModelInterrupt | undefined {
    const c = this.cpus[cpu]!;
    return [...c.banked, ...this.spis]
      .filter((i) => i.enabled && !i.active && this.pending(i))
      .filter((i) => this.groups[i.group]! && c.groups[i.group]!)
      .filter((i) => i.intid < 32 || ((i.targets >> cpu) & 1) === 1)
      .sort((a, b) => a.priority - b.priority || a.intid - b.intid)[0];
  }

  groupPriority(cpu: number, priority: number, group: number): number {
    const c = this.cpus[cpu]!;
    const size = 2 ** (group === 0 || c.cbpr ? c.bpr + 1 : c.abpr);
    return Math.floor(priority / size) * size;
  }

  running(cpu: number): number {
    const { active } = this.cpus[cpu]!;
    return Math.min(0xff, ...active[0], ...active[1]);
  }

  signal(cpu: number): 'irq' | 'fiq' | undefined {
    const i = this.highest(cpu);
    if (i === undefined || i.priority >= this.cpus[cpu]!.pmr) return undefined;
    if (this.groupPriority(cpu, i.priority, i.group) >= this.running(cpu)) return undefined;
    return i.group === 0 && this.cpus[cpu]!.fiqEn ? 'fiq' : 'irq';
  }

  acknowledge(cpu: number, alias: boolean): number {
    if (this.signal(cpu) === undefined) return 1023;
    const i = this.highest(cpu)!;
    if (alias && i.group === 0) return 1023;
    if (!alias && i.group === 1 && !this.cpus[cpu]!.ackCtl) return 1022;
    this.cpus[cpu]!.active[i.group]!.add(this.groupPriority(cpu, i.priority, i.group));
    i.active = true;
    i.latch = false;
    if (i.intid >= 16) return i.intid;
    const source = Math.min(...i.sources);
    i.sources.delete(source);
    return i.intid + source * 1024;
  }

  end(cpu: number, alias: boolean, intid: number): void {
    const c = this.cpus[cpu]!;
    const first = [Math.min(...c.active[0]), Math.min(...c.active[1])] as const;
    const group = first[0] === first[1] ? Number(alias) : Number(first[1] < first[0]);
    if (first[group as 0 | 1] === Infinity) return;
    if (alias ? group === 0 : group === 1 && !c.ackCtl) return;
    c.active[group]!.delete(first[group as 0 | 1]);
    if (!c.eoiMode) this.interrupt(cpu, intid).active = false;
  }
}
