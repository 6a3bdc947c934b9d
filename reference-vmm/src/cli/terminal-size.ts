/** The size of the terminal that shows output; undefined where none does. */
export function terminalSize(): { readonly columns: number; readonly rows: number } | undefined {
  const shown = [process.stdout, process.stderr].find(({ isTTY }) => isTTY);
  if (shown === undefined || shown.columns < 1 || shown.rows < 1) return undefined;
  return { columns: shown.columns, rows: shown.rows };
}

/** Tells each new size of that terminal. @returns what ends it */
export function followSize(tell: (size: { columns: number; rows: number }) => void): () => void {
  const shown = [process.stdout, process.stderr].find(({ isTTY }) => isTTY);
  const resized = (): void => {
    const size = terminalSize();
    if (size !== undefined) tell(size);
  };
  shown?.on('resize', resized);
  return () => shown?.off('resize', resized);
}
