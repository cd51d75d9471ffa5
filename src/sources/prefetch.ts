/**
 * Ranges that are told beforehand, fetched before they are read: where each request has a price, neighbours come in one. A chunk of its
 * own, which loads where weights come from a server.
 *
 * What was told is cut into pieces of at most {@link PIECE_BYTES}. They are fetched in the order of what was told, a few at a time, and
 * each is let go when all that was told of it has been read: what lies here is bounded, whatever the size of all.
 */
import { memoryFor, type FileRange } from "./source.ts";

/** Bytes of one request. */
export const PIECE_BYTES = 8 << 20;
/** Bytes that nobody asked for, where they are cheaper than another request. */
const GAP_BYTES = 64 << 10;
/** Requests under way: as many connections as browsers open to a server of HTTP/1.1. */
const UNDER_WAY = 6;
/** Pieces that are under way or lie here. One that is read out of its turn comes besides. */
const HELD = 8;

/** Reads a range, into memory where some is given that is large enough. */
type Fetch = (path: string, start: number, end: number, into?: Uint8Array<ArrayBuffer>) => Promise<Uint8Array<ArrayBuffer>>;

interface Piece extends FileRange {
  /** Bytes that were told and are not read yet, each as often as it was told. */
  left: number;
  /** Place among what was told of the first that is in it. */
  turn: number;
  /** Once it was begun. */
  bytes?: Promise<Uint8Array<ArrayBuffer>>;
  gone: boolean;
}

/** Fetches what will be read of one source. */
export class Prefetch {
  readonly #lists = new Set<List>();

  /** @param fetch gives what fetches until a signal says that it is over */
  constructor(private readonly fetch: (signal: AbortSignal) => Fetch) {}

  /** Begins to fetch what will be read, in its order. Forgotten with the signal. */
  tell(ranges: readonly FileRange[], signal: AbortSignal): void {
    if (signal.aborted) return;
    const list = new List(ranges, this.fetch(signal));
    this.#lists.add(list);
    signal.addEventListener("abort", () => this.#lists.delete(list), { once: true });
  }

  /** A range of what was told; undefined where it was not, or is forgotten. */
  async read(path: string, start: number, end: number, into?: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer> | undefined> {
    for (const list of this.#lists) {
      const found = await list.read(path, start, end, into).catch((error: unknown) => {
        if (this.#lists.has(list)) throw error;
      });
      if (found) return found;
    }
    return undefined;
  }
}

/** What was told at once. */
class List {
  /** By path, in the order of their bytes. */
  readonly #pieces = new Map<string, readonly Piece[]>();
  /** In the order in which they are fetched. */
  readonly #queue: Piece[];
  /** Memory of pieces that are gone. */
  readonly #spare: Uint8Array<ArrayBuffer>[] = [];
  #underWay = 0;
  #held = 0;

  constructor(
    ranges: readonly FileRange[],
    private readonly fetch: Fetch,
  ) {
    const turns = ranges.map((range, turn) => ({ ...range, turn }));
    for (const path of new Set(ranges.map((range) => range.path)))
      this.#pieces.set(path, piecesOf(turns.filter((range) => range.path === path)));
    this.#queue = [...this.#pieces.values()].flat().sort((a, b) => a.turn - b.turn);
    this.#pump();
  }

  async read(path: string, start: number, end: number, into?: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const pieces = (this.#pieces.get(path) ?? []).filter((piece) => piece.start < end && start < piece.end && !piece.gone);
    if (pieces.reduce((sum, piece) => sum + common(piece, start, end), 0) < end - start) return undefined;
    for (const piece of pieces) this.#begin(piece);
    const out = memoryFor(end - start, into);
    for (const piece of pieces) {
      const bytes = await piece.bytes!;
      // Others read it meanwhile, as often as it was told: its memory may be another's by now.
      if (piece.gone) return undefined;
      const [from, to] = [Math.max(start, piece.start), Math.min(end, piece.end)];
      out.set(bytes.subarray(from - piece.start, to - piece.start), from - start);
      piece.left -= to - from;
      if (piece.left <= 0) this.#letGo(piece, bytes);
    }
    return out;
  }

  #pump(): void {
    while (this.#underWay < UNDER_WAY && this.#held < HELD) {
      const next = this.#queue.shift();
      if (!next) return;
      this.#begin(next);
    }
  }

  #begin(piece: Piece): void {
    if (piece.bytes) return;
    this.#underWay++;
    this.#held++;
    piece.bytes = this.fetch(piece.path, piece.start, piece.end, this.#spare.pop());
    const over = (): void => {
      this.#underWay--;
      this.#pump();
    };
    piece.bytes.then(over, () => {
      // Those who wait for it are told; who reads it later asks anew.
      this.#letGo(piece);
      over();
    });
  }

  #letGo(piece: Piece, bytes?: Uint8Array<ArrayBuffer>): void {
    piece.gone = true;
    this.#held--;
    if (bytes?.buffer.byteLength === PIECE_BYTES) this.#spare.push(new Uint8Array(bytes.buffer));
    this.#pump();
  }
}

/** Bytes that a piece and a range have in common. */
const common = (piece: FileRange, start: number, end: number): number =>
  Math.max(0, Math.min(end, piece.end) - Math.max(start, piece.start));

/** Ranges of one file, joined where they are neighbours and cut into pieces. */
function piecesOf(ranges: readonly (FileRange & { turn: number })[]): Piece[] {
  const joined: { path: string; start: number; end: number }[] = [];
  for (const { path, start, end } of [...ranges].sort((a, b) => a.start - b.start)) {
    const last = joined.at(-1);
    if (last && start - last.end <= GAP_BYTES) last.end = Math.max(last.end, end);
    else joined.push({ path, start, end });
  }
  const pieces = joined.flatMap(({ path, start, end }) =>
    Array.from({ length: Math.ceil((end - start) / PIECE_BYTES) }, (_, i): Piece => {
      const from = start + i * PIECE_BYTES;
      return { path, start: from, end: Math.min(end, from + PIECE_BYTES), left: 0, turn: Infinity, gone: false };
    }),
  );
  let first = 0;
  for (const { start, end, turn } of [...ranges].sort((a, b) => a.start - b.start)) {
    while (first < pieces.length && pieces[first]!.end <= start) first++;
    for (let i = first; i < pieces.length && pieces[i]!.start < end; i++) {
      const piece = pieces[i]!;
      piece.left += common(piece, start, end);
      piece.turn = Math.min(piece.turn, turn);
    }
  }
  return pieces;
}
