// `npm pack` and `npm publish` run it: the package's package.json has no scripts, as what they need is not in the package; `back`, afterwards,
// gives the checkout its own again.
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const own = fileURLToPath(new URL('../package.json', import.meta.url));
const aside = `${own}.own`;

if (process.argv[2] === 'back') {
  if (existsSync(aside)) renameSync(aside, own);
} else {
  const text = readFileSync(existsSync(aside) ? aside : own, 'utf8');
  const { scripts: _, ...published } = JSON.parse(text);
  writeFileSync(aside, text);
  writeFileSync(own, `${JSON.stringify(published, undefined, 2)}\n`);
}
