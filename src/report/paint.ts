/** How text is emphasised. The caller decides whether the terminal takes colour; `plain` leaves every string as it is. */
export interface Paint {
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
}

const same = (text: string): string => text;

export const plain: Paint = { bold: same, dim: same, red: same, green: same, yellow: same };
