/** The largest lag of a replica that is good enough, in seconds or in bytes of the stream. */
export type MaxLag = { readonly seconds: number } | { readonly bytes: number };
