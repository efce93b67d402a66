/** Any JSON value as it crosses the wire; never `undefined`, never a number that is not finite. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json }
export type JsonObject = { [key: string]: Json }
