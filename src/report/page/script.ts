/**
 * The page's script, as it stands in the file: it sorts, filters, opens and copies what is there, and makes nothing of texts. Without
 * it the page shows everything.
 */
export const script = `(() => {
  'use strict';
  const all = (selector, within) => Array.from((within || document).querySelectorAll(selector));
  document.documentElement.classList.add('js');

  for (const table of all('table.sortable')) {
    const heads = all('th', table);
    const original = Array.from(table.tBodies);
    heads.forEach((head, column) => {
      const numeric = head.classList.contains('n');
      const valueOf = (body) => {
        const cell = body.rows[0].cells[column];
        const text = cell.dataset.v === undefined ? cell.textContent.trim() : cell.dataset.v;
        if (!numeric) return text;
        return text === '' ? NaN : text === '\\u221e' ? Infinity : Number(text);
      };
      head.querySelector('button').addEventListener('click', () => {
        const was = head.getAttribute('aria-sort');
        const now = was === 'none' ? 'ascending' : was === 'ascending' ? 'descending' : 'none';
        heads.forEach((other) => other.setAttribute('aria-sort', 'none'));
        head.setAttribute('aria-sort', now);
        const sign = now === 'descending' ? -1 : 1;
        const order = original.map((body, index) => ({ body, index, value: valueOf(body) }));
        const missing = (value) => (value === '' || Number.isNaN(value) ? 1 : 0);
        if (now !== 'none')
          order.sort((a, b) => {
            const last = missing(a.value) - missing(b.value);
            if (last !== 0) return last;
            if (missing(a.value) === 1 || a.value === b.value) return a.index - b.index;
            return sign * (numeric ? (b.value > a.value ? -1 : 1) : String(a.value).localeCompare(String(b.value), 'en', { numeric: true }));
          });
        table.append(...order.map(({ body }) => body));
      });
    });
  }

  const layers = document.getElementById('layer-table');
  if (layers) {
    const bodies = Array.from(layers.tBodies);
    const [filter, kernel, every, shown] = ['filter', 'kernel', 'all', 'shown'].map((id) => document.getElementById(id));
    const texts = new Map(bodies.map((body) => [body, body.textContent.toLowerCase()]));
    const isOpen = (body) => body.classList.contains('opened');
    const set = (body, open) => {
      body.classList.toggle('opened', open);
      body.querySelector('button.open').setAttribute('aria-expanded', String(open));
    };
    const apply = () => {
      const words = filter.value.toLowerCase().split(/\\s+/).filter(Boolean);
      let count = 0;
      for (const body of bodies) {
        const fits = (kernel.value === '' || body.dataset.kernel === kernel.value) && words.every((word) => texts.get(body).includes(word));
        body.hidden = !fits;
        if (fits) count += 1;
      }
      shown.textContent = count + ' of ' + bodies.length;
    };
    const visible = () => Array.from(layers.tBodies).filter((body) => !body.hidden);
    filter.addEventListener('input', apply);
    kernel.addEventListener('change', apply);
    every.addEventListener('click', () => {
      const open = !visible().every(isOpen);
      visible().forEach((body) => set(body, open));
      every.textContent = open ? 'close all' : 'open all';
    });
    layers.addEventListener('click', (event) => {
      const row = event.target.closest('tr.row');
      // Who marks a name to copy it does not want the row to open.
      if (!row || String(getSelection()) !== '') return;
      set(row.parentElement, !isOpen(row.parentElement));
    });
    layers.addEventListener('keydown', (event) => {
      const button = event.target.closest('button.open');
      const step = event.key === 'ArrowDown' ? 1 : event.key === 'ArrowUp' ? -1 : 0;
      if (!button || (step === 0 && event.key !== 'Escape')) return;
      event.preventDefault();
      const body = button.closest('tbody');
      if (step === 0) return set(body, false);
      const list = visible();
      const next = list[list.indexOf(body) + step];
      if (next) next.querySelector('button.open').focus();
    });
    const show = (hash) => {
      const body = /^#layer-\\d+$/.test(hash) ? document.getElementById(hash.slice(1)) : null;
      if (!body) return;
      if (body.hidden) {
        filter.value = '';
        kernel.value = '';
        apply();
      }
      set(body, true);
      body.scrollIntoView({ block: 'center' });
      body.querySelector('button.open').focus({ preventScroll: true });
    };
    document.addEventListener('click', (event) => {
      const link = event.target.closest('a');
      if (!link) return;
      const hash = link.getAttribute('href');
      if (!/^#layer-/.test(hash)) return;
      event.preventDefault();
      history.replaceState(null, '', hash);
      show(hash);
    });
    addEventListener('hashchange', () => show(location.hash));
    apply();
    show(location.hash);
  }

  for (const pre of all('pre.copy')) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'copier';
    button.textContent = 'copy';
    button.addEventListener('click', async () => {
      try {
        await navigator.clipboard.writeText(pre.textContent);
        button.textContent = 'copied';
      } catch {
        getSelection().selectAllChildren(pre);
        button.textContent = 'marked: press Ctrl-C';
      }
      setTimeout(() => (button.textContent = 'copy'), 2000);
    });
    pre.before(button);
  }
})();
`;
