/** libnftables.so.1, loaded when first used: the rest of the package works where it is not installed. */
import koffi from 'koffi';

/** nftables/libnftables.h: NFT_CTX_OUTPUT_* */
export const OUTPUT_HANDLE = 1 << 3;
export const OUTPUT_JSON = 1 << 4;
export const OUTPUT_ECHO = 1 << 5;

/** An nft_ctx. */
export type Context = { readonly brand: unique symbol };

export interface LibNftables {
  newContext(flags: number): Context | null;
  freeContext(context: Context): void;
  bufferOutput(context: Context): number;
  bufferError(context: Context): number;
  setOutputFlags(context: Context, flags: number): void;
  run(context: Context, commands: string): number;
  output(context: Context): string;
  error(context: Context): string;
}

let library: LibNftables | undefined;

/** Throws koffi's Error when the library is missing. */
export function libNftables(): LibNftables {
  library ??= load();
  return library;
}

function load(): LibNftables {
  const nft = koffi.load('libnftables.so.1');
  return {
    newContext: nft.func('void *nft_ctx_new(uint32_t flags)'),
    freeContext: nft.func('void nft_ctx_free(void *context)'),
    bufferOutput: nft.func('int nft_ctx_buffer_output(void *context)'),
    bufferError: nft.func('int nft_ctx_buffer_error(void *context)'),
    setOutputFlags: nft.func('void nft_ctx_output_set_flags(void *context, unsigned int flags)'),
    run: nft.func('int nft_run_cmd_from_buffer(void *context, const char *commands)'),
    output: nft.func('const char *nft_ctx_get_output_buffer(void *context)'),
    error: nft.func('const char *nft_ctx_get_error_buffer(void *context)'),
  };
}
