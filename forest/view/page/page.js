'use strict';
(() => {
  const rows = [...document.querySelectorAll('main .row')];
  const text = rows.map(r => r.textContent.toLowerCase());
  const find = document.getElementById('find'), found = document.getElementById('found');
  let hits = [], at = -1;
  const reveal = r => {
    for (let d = r.closest('details'); d; d = d.parentElement.closest('details')) d.open = true;
    r.scrollIntoView({block: 'center'});
  };
  const search = () => {
    const q = find.value.trim().toLowerCase();
    rows.forEach(r => r.classList.remove('hit', 'at'));
    // A number is found where it is one of the numbers, not a part of another.
    const whole = /^\d+$/.test(q) ? new RegExp('(^|\\D)' + q + '(\\D|$)') : null;
    hits = q === '' ? [] : rows.filter((r, i) => whole ? whole.test(r.querySelector('b').textContent) : text[i].includes(q));
    hits.forEach(r => r.classList.add('hit'));
    at = -1;
    found.textContent = q === '' ? '' : hits.length + ' found';
    if (hits.length) next();
  };
  const next = () => {
    if (!hits.length) return;
    if (at >= 0) hits[at].classList.remove('at');
    at = (at + 1) % hits.length;
    hits[at].classList.add('at');
    found.textContent = (at + 1) + ' of ' + hits.length;
    reveal(hits[at]);
  };
  find.addEventListener('input', search);
  find.addEventListener('keydown', e => { if (e.key === 'Enter') next(); });
  document.getElementById('next').addEventListener('click', next);
  const all = open => document.querySelectorAll('main details').forEach(d => {
    d.open = open || d.parentElement.tagName === 'MAIN';
  });
  document.getElementById('open').addEventListener('click', () => all(true));
  document.getElementById('shut').addEventListener('click', () => all(false));
  // Pointing at a session or group shows who else is in it.
  let shown = null;
  document.addEventListener('mouseover', e => {
    const tag = e.target.closest ? e.target.closest('main .tag') : null;
    if (tag === shown) return;
    shown = tag;
    const key = tag && (tag.dataset.s !== undefined ? 's' : 'g');
    rows.forEach(r => {
      const own = tag && r.querySelector('.tag[data-' + key + ']');
      const same = Boolean(own) && own.dataset[key] === tag.dataset[key];
      r.classList.toggle('faint', Boolean(tag) && !same);
      r.classList.toggle('same', same);
      r.querySelectorAll('.tag').forEach(t => t.classList.toggle('on', same && t === own));
    });
  });
  const go = () => {
    const r = document.getElementById(location.hash.slice(1));
    if (r) reveal(r);
  };
  addEventListener('hashchange', go);
  go();
})();
