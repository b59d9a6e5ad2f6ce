// Makes dist, the package for Node, and dist/web: the same modules with each io/node-NAME.js replaced by its twin
// io/web-NAME.js. That runs in a browser as it is, without a bundler.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const home = dirname(fileURLToPath(import.meta.url));
const dist = join(home, 'dist');
const web = join(dist, 'web');

rmSync(dist, { recursive: true, force: true });
execFileSync('tsc', ['-p', 'tsconfig.build.json'], { cwd: home, stdio: 'inherit' });
for (const part of readdirSync(dist)) {
  cpSync(join(dist, part), join(web, part), {
    recursive: true,
    filter: (path) => !path.endsWith('.d.ts') && !/[\\/]node-[^\\/]+$/.test(path),
  });
}
for (const twin of readdirSync(join(web, 'io')).filter((name) => name.startsWith('web-'))) {
  const name = twin.replace(/^web-/, 'node-');
  if (!existsSync(join(dist, 'io', name))) throw new Error(`${twin} is nobody's twin`);
  writeFileSync(join(web, 'io', name), `export * from './${twin}';\n`);
  // Node has no use for it.
  for (const ending of ['.js', '.d.ts']) rmSync(join(dist, 'io', twin.replace(/\.js$/, ending)));
}
