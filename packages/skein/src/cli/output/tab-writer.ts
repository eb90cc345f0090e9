/** Go's text/tabwriter as docker sets it: cells of at least 10 characters, 3 spaces between columns, left aligned. */
const minimumWidth = 10;
const padding = 3;

/**
 * Aligns tab-separated lines. A cell belongs to a column only if a tab ends it, and a column's width counts within a
 * run of neighbouring lines that have it (the elastic tab stops of text/tabwriter).
 */
export function alignTabs(text: string, minimum: number = minimumWidth): string {
  const lines = text.split('\n').map((line) => line.split('\t'));
  const widths: number[][] = lines.map(() => []);
  layOut(lines, widths, 0, 0, lines.length, minimum);
  return lines
    .map((cells, row) => cells.map((cell, column) => padCell(cell, widths[row]?.[column])).join(''))
    .join('\n');
}

function padCell(cell: string, width: number | undefined): string {
  return width === undefined ? cell : cell + ' '.repeat(Math.max(0, width - textWidth(cell)));
}

function layOut(
  lines: string[][],
  widths: number[][],
  column: number,
  from: number,
  to: number,
  minimum: number,
): void {
  let row = from;
  while (row < to) {
    const start = row;
    while (row < to && column < (lines[row]?.length ?? 0) - 1) row++;
    if (row === start) {
      row++;
      continue;
    }
    const cells = lines.slice(start, row).map((line) => textWidth(line[column] ?? ''));
    const width = Math.max(minimum, Math.max(...cells) + padding);
    for (let index = start; index < row; index++) (widths[index] ?? [])[column] = width;
    layOut(lines, widths, column + 1, start, row, minimum);
  }
}

/** Characters, as text/tabwriter counts them. */
function textWidth(text: string): number {
  return [...text].length;
}
