/** The whole look of /docs. Colours follow the reader's system; nothing is loaded. */
export const STYLE = `
:root{--bg:#fbfbf9;--fg:#1d2125;--quiet:#5c6670;--line:#dcdfe3;--panel:#f1f2ef;--link:#0b5cad;--get:#1a6b3c;--post:#8a4b00;--delete:#a3262a}
@media (prefers-color-scheme:dark){:root{--bg:#15181b;--fg:#dfe3e7;--quiet:#98a2ad;--line:#343a41;--panel:#1e2327;--link:#7bb7f5;--get:#72cf98;--post:#f0b35e;--delete:#f28b82}}
*{box-sizing:border-box}
html{scroll-padding-top:12px}
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.55 system-ui,sans-serif}
a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}
code,pre,text{font-family:ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace}
code{font-size:.88em;overflow-wrap:anywhere}
pre{background:var(--panel);border:1px solid var(--line);border-radius:6px;padding:10px 12px;margin:8px 0;font-size:12.5px;line-height:1.5;overflow-x:auto}
nav{border-bottom:1px solid var(--line);padding:10px 16px;font-size:14px}
nav input{position:absolute;opacity:0}nav label{cursor:pointer;color:var(--link)}nav label::before{content:"☰ "}nav input:focus-visible+label{outline:2px solid var(--link)}nav input:not(:checked)~ul{display:none}
nav ul{list-style:none;margin:6px 0;padding:0}nav ul ul{margin:2px 0 10px;padding-left:10px}
nav ul ul a{color:var(--fg);font-size:13px}nav ul ul b{display:inline-block;width:4.8em;font-size:10.5px}
.brand{margin:0 0 4px;font-weight:650;font-size:16px}.brand span{color:var(--quiet);font-weight:400;font-size:13px}
main{padding:8px 16px 80px;max-width:920px}
h1{font-size:28px;margin:16px 0 8px}
h2{font-size:21px;margin:44px 0 6px;padding-bottom:4px;border-bottom:1px solid var(--line)}
h2::first-letter{text-transform:uppercase}
h3{font-size:16.5px;margin:0 0 2px}h4{font-size:13px;margin:14px 0 2px;color:var(--quiet)}
article,.schema,.error{padding:20px 0 14px;border-bottom:1px solid var(--line)}
p{margin:6px 0}
.route code{font-size:14px}
.quiet,.bounds,i{color:var(--quiet);font-size:13px;font-style:normal}
.bounds code{font-size:11.5px}
b.get{color:var(--get)}b.post{color:var(--post)}b.delete{color:var(--delete)}
.route b{font-size:13px}
.status{display:inline-block;min-width:2.6em;text-align:center;border:1px solid var(--line);border-radius:4px;font-size:12.5px;padding:0 4px;font-weight:400}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px;margin:6px 0}
th{text-align:left;color:var(--quiet);font-weight:500;font-size:12.5px}
td,th{padding:5px 14px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child>td{border-bottom:0}
.fields td:nth-child(1) code{overflow-wrap:break-word}
.fields td:nth-child(1){width:30%;min-width:110px}.fields td:nth-child(2){width:26%;min-width:90px}
.refusals{width:auto}.refusals td{border:0;padding:2px 10px 2px 0}
.states tr:target,article:target,.schema:target,.error:target{background:var(--panel);box-shadow:0 0 0 10px var(--panel)}
.states code{white-space:nowrap}
nav>ul>li>a{display:inline-block}nav>ul>li>a::first-letter{text-transform:uppercase}
summary{cursor:pointer;color:var(--quiet);font-size:13px}
.drawing{display:block;width:100%;min-width:760px;height:auto;margin:10px 0}
.drawing rect{fill:var(--panel);stroke:var(--quiet)}.drawing .live rect{stroke:var(--link);stroke-width:1.6}
.drawing text{fill:var(--fg);font-size:12px;text-anchor:middle}
.drawing .arrow{fill:none;stroke:var(--quiet);stroke-width:1.1;opacity:.75}.drawing marker path{fill:var(--quiet)}
@media (min-width:980px){
body{display:grid;grid-template-columns:270px minmax(0,1fr)}
nav{position:sticky;top:0;height:100vh;overflow-y:auto;border-bottom:0;border-right:1px solid var(--line)}
nav label,nav input{display:none}nav input:not(:checked)~ul{display:block}
main{padding:16px 40px 120px}
}
`
