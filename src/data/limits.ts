/** What no honest data needs: a config or a file that asks for more is refused before it takes memory or time. */
export const limits = {
  /** Elements of one tensor of a sample. */
  elements: 2 ** 28,
  /** Bytes of a tokenizer's file. */
  tokenizer: 256 * 2 ** 20,
  /** Characters of one text. */
  characters: 2 ** 20,
  /** Positions that a text is cut or filled to. */
  positions: 2 ** 17,
  /** Bytes of a file of texts. */
  texts: 2 ** 28,
  /** Bytes of one sound that is fed whole. */
  sound: 2 ** 30,
  /** Frames that sounds are cut into. */
  frames: 2 ** 22,
} as const;
