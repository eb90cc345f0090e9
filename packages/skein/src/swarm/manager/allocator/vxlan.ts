/** Option that carries a network's VXLAN IDs, one per subnet, as decimals with commas (libnetwork overlay driver). */
export const vxlanIdsOption = 'com.docker.network.driver.overlay.vxlanid_list';

/** @returns the IDs of such a list. */
export function parseVxlanIds(list: string | undefined): number[] {
  return (list ?? '')
    .split(',')
    .filter((text) => text.trim() !== '')
    .map((text) => Number(text));
}
