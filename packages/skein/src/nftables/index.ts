/**
 * nftables: tables of ours that stay as they should be.
 *
 * Each room that owns an nft table says here what is to be in it; what others change or flush is put back within half a
 * second. Other tables are neither changed nor looked at. It knows nothing of what the rules are for.
 */
export { fingerprint } from './fingerprint.ts';
export { ManagedTable, type TableShape } from './managed-table.ts';
export { TableKeeper } from './table-keeper.ts';
