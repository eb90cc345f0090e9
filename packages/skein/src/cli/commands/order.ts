/** Names in order, numbers inside them by value (docker sorts lists "naturally"). */
export function naturalOrder(left: string, right: string): number {
  const parts = (text: string) => text.match(/\d+|\D+/g) ?? [];
  const [a, b] = [parts(left), parts(right)];
  for (let index = 0; index < Math.min(a.length, b.length); index++) {
    const [x = '', y = ''] = [a[index], b[index]];
    if (x === y) continue;
    if (/^\d/.test(x) && /^\d/.test(y) && Number(x) !== Number(y)) return Number(x) - Number(y);
    return x < y ? -1 : 1;
  }
  return a.length - b.length;
}
