"""Write claims/reversals.toml from artifacts/verdicts.json: entries of REFUTED records, with sentences by id (JSON file)."""
import json, sys, tomllib
sentences = json.load(open(sys.argv[1])) if len(sys.argv) > 1 else {}
path = 'claims/reversals.toml'
old = {(e['id'], e['source']): e for e in tomllib.load(open(path, 'rb'))['reversal']}
rows = [r for r in json.load(open('artifacts/verdicts.json')) if r['state'] == 'REFUTED']
out = ['# Claims known not to hold: each is expected to read REFUTED at its source, and the run fails when it no longer does.\n']
keep = [e for (i, s), e in old.items() if s != 'embedded']
def put(i, s, ev, d):
    out.append(f'[[reversal]]\nid = "{i}"\nsource = "{s}"\nevidence = "{ev}"\ndate = {d}\n')
for e in keep: put(e['id'], e['source'], e['evidence'], e['date'])
for r in sorted(rows, key=lambda r: r['id']):
    lo, hi = r['interval']
    text = sentences.get(r['id'])
    prev = old.get((r['id'], 'embedded'))
    if text is None and prev: put(r['id'], 'embedded', prev['evidence'], prev['date']); continue
    number = f"{r['estimate']:.3g}, 95 % interval [{lo:.3g}, {hi:.3g}], margin {r['margin']:g}, n = {r['n']}"
    if text is None: print('!! no sentence', r['id'])
    put(r['id'], 'embedded', f'{number}: {text}', '2026-11-29')
open(path, 'w').write('\n'.join(out))
