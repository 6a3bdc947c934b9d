export * from './acpi/index.ts';
export * from './boot-cpu.ts';
export * from './boot-info.ts';
export * from './command-line.ts';
export * from './kernel-format.ts';
export * from './layout.ts';
export * from './loader.ts';
export * from './mp-table.ts';
