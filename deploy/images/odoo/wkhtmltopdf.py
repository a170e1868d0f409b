#!/usr/bin/python3
"""wkhtmltopdf as Odoo calls it, on a build whose Qt can print only the body of one document.

The official image has a build with a patched Qt. Debian's lacks that, and so ignores headers, footers and further documents. Here
each is printed by itself, the headers and footers once per page that they appear on, and all is laid over each other.
"""
import contextlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.parse

from pypdf import PdfReader, PdfWriter
from pypdf.generic import (
    ArrayObject, DecodedStreamObject, DictionaryObject, NameObject, NullObject, NumberObject, StreamObject, TextStringObject,
)

REAL = '/opt/wkhtmltopdf/wkhtmltopdf'
MM_PER_POINT = 25.4 / 72
TWO_VALUES = {'--cookie', '--custom-header', '--post', '--post-file', '--replace'}
ONE_VALUE = {
    '--allow', '--cookie-jar', '--dpi', '--encoding', '--footer-html', '--footer-spacing', '--header-html', '--header-spacing',
    '--image-dpi', '--image-quality', '--javascript-delay', '--load-error-handling', '--load-media-error-handling', '--log-level',
    '--margin-bottom', '--margin-left', '--margin-right', '--margin-top', '--minimum-font-size', '--orientation', '--page-height',
    '--page-size', '--page-width', '--proxy', '--run-script', '--title', '--viewport-size', '--zoom',
}
BANDS = ('--header-', '--footer-')


def parse(arguments):
    """Return the options as a dict of lists, and the positional arguments."""
    options, files, rest = {}, [], iter(arguments)
    for argument in rest:
        if argument.startswith('-') and argument != '-':
            count = 2 if argument in TWO_VALUES else 1 if argument in ONE_VALUE else 0
            options.setdefault(argument, []).append([next(rest) for _ in range(count)])
        else:
            files.append(argument)
    return options, files


def flatten(options, **margins):
    """Return the options as arguments for the real program, without those of headers and footers, and with other margins."""
    arguments = []
    for name, uses in options.items():
        if name.startswith(BANDS) or name.removeprefix('--margin-') in margins:
            continue
        for values in uses:
            arguments += [name, *values]
    for side, millimetres in margins.items():
        arguments += ['--margin-' + side, f'{millimetres:.2f}mm']
    return arguments


def millimetres(options, name, default=0.0):
    """Return an option's length; a number without a unit is in millimetres."""
    if name not in options:
        return default
    match = re.fullmatch(r'([\d.]+)(mm|cm|in|pt)?', options[name][-1][0])
    if not match:
        return default
    return float(match[1]) * {'cm': 10, 'in': 25.4, 'pt': MM_PER_POINT}.get(match[2], 1)


def convert(commands):
    """Run the real program once for several conversions and return its exit code; complaints go to our own stderr."""
    lines = '\n'.join(' '.join('"' + a.replace('\\', r'\\').replace('"', r'\"') + '"' for a in c) for c in commands)
    result = subprocess.run([REAL, '--read-args-from-stdin'], input=lines + '\n', stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in result.stderr.splitlines():
        if line and 'QStandardPaths' not in line:
            print(line, file=sys.stderr)
    return result.returncode


class Bands:
    """The headers, or the footers, of all pages: printed together, as starting the program costs more than a page."""

    def __init__(self, name, source, margin, options, directory):
        self.name, self.source, self.margin, self.options, self.directory = name, source, margin, options, directory
        # Where no page number is shown, one print serves all pages of a document.
        self.numbered = re.search(r'class=["\'][^"\']*\b(page|topage)\b', pathlib.Path(source).read_text('utf-8', 'replace')) is not None
        self.commands = {}

    def add(self, document, page, pages):
        """Ask for the band of one page, and return the name of the file it will be in."""
        number = page if self.numbered else 1
        query = urllib.parse.urlencode({'webpage': document, 'sitepage': number, 'sitepages': pages, 'page': number, 'topage': pages})
        url = pathlib.Path(self.source).absolute().as_uri() + '?' + query
        if url not in self.commands:
            target = os.path.join(self.directory, f'{self.name}-{len(self.commands)}.pdf')
            margins = flatten(self.options, top=self.margin, bottom=0)
            self.commands[url] = [*margins, '--javascript-delay', '20', url, target]
        return self.commands[url][-1]


def bands_of(options, height, directory):
    """Return the header and the footer that the options name."""
    result = []
    if '--header-html' in options:
        margin = millimetres(options, '--margin-top', 10) - millimetres(options, '--header-spacing')
        result.append(Bands('header', options['--header-html'][-1][0], max(margin, 0), options, directory))
    if '--footer-html' in options:
        margin = height - millimetres(options, '--margin-bottom', 10) + millimetres(options, '--footer-spacing')
        result.append(Bands('footer', options['--footer-html'][-1][0], min(margin, height - 1), options, directory))
    return result


class Output:
    """The PDF that is being put together."""

    def __init__(self):
        self.writer = PdfWriter()
        self.forms = {}
        self.starts = []

    def add_document(self, reader, pages):
        """Add the pages of one document, each with the bands in the files given for it."""
        self.starts.append(len(self.writer.pages))
        for page, files in zip(reader.pages, pages):
            added = self.writer.add_page(page)
            if files:
                self.lay_over(added, files)

    def form(self, file):
        """Return name and reference of a page that was printed apart, as something to draw on other pages."""
        if file not in self.forms:
            page = PdfReader(file).pages[0]
            form = DecodedStreamObject()
            form.set_data(page.get_contents().get_data())
            form = form.flate_encode()
            form.update({
                NameObject('/Type'): NameObject('/XObject'),
                NameObject('/Subtype'): NameObject('/Form'),
                NameObject('/BBox'): ArrayObject(page.mediabox),
                NameObject('/Resources'): page['/Resources'].clone(self.writer),
            })
            self.forms[file] = NameObject(f'/Band{len(self.forms)}'), self.writer._add_object(form)
        return self.forms[file]

    def lay_over(self, page, files):
        """Draw the bands after the page's own content, which stays as it is: to merge the two would unpack it."""
        resources = page['/Resources'].get_object()
        objects = resources.setdefault(NameObject('/XObject'), DictionaryObject()).get_object()
        drawing = ''
        for file in files:
            name, objects[name] = self.form(file)
            drawing += f' q {name} Do Q'
        own = page['/Contents'].get_object()
        own = list(own) if isinstance(own, ArrayObject) else [page.raw_get('/Contents')]
        page[NameObject('/Contents')] = ArrayObject([self.stream('q'), *own, self.stream('Q' + drawing)])

    def stream(self, text):
        stream = StreamObject()
        stream.set_data(text.encode())
        return self.writer._add_object(stream)

    def add_outline(self, titles):
        """Write one entry per document, in the very form that Odoo reads: it splits a print of several documents there."""
        root, destinations = self.writer._root_object, DictionaryObject()
        outline = DictionaryObject({NameObject('/Type'): NameObject('/Outlines'), NameObject('/Count'): NumberObject(len(titles))})
        parent = self.writer._add_object(outline)
        items = []
        for number, (title, start) in enumerate(zip(titles, self.starts)):
            name = NameObject(f'/Document{number}')
            destinations[name] = ArrayObject([NumberObject(start), NameObject('/XYZ'), NullObject(), NullObject(), NullObject()])
            items.append(self.writer._add_object(DictionaryObject({
                NameObject('/Title'): TextStringObject(title), NameObject('/Parent'): parent, NameObject('/Dest'): name,
            })))
        for before, after in zip(items, items[1:]):
            before.get_object()[NameObject('/Next')] = after
            after.get_object()[NameObject('/Prev')] = before
        outline[NameObject('/First')], outline[NameObject('/Last')] = items[0], items[-1]
        root[NameObject('/Dests')] = destinations
        root[NameObject('/Outlines')] = parent


def compose(options, documents, target):
    """Print the documents one after the other into the target, each page with its header and footer."""
    with tempfile.TemporaryDirectory(prefix='wkhtmltopdf.') as directory:
        bodies = [os.path.join(directory, f'body-{i}.pdf') for i in range(len(documents))]
        code = convert([[*flatten(options), *pair] for pair in zip(documents, bodies)])
        readers = [PdfReader(body) for body in bodies]
        bands = bands_of(options, float(readers[0].pages[0].mediabox.height) * MM_PER_POINT, directory)
        plan = [
            [[band.add(document, number, len(reader.pages)) for band in bands] for number in range(1, len(reader.pages) + 1)]
            for document, reader in zip(documents, readers)
        ]
        commands = [command for band in bands for command in band.commands.values()]
        if commands:
            code = max(code, convert(commands))
        output = Output()
        for reader, pages in zip(readers, plan):
            output.add_document(reader, pages)
        output.add_outline([os.path.basename(document) for document in documents])
        output.writer.write(target)
    return code


def main():
    options, files = {}, []
    with contextlib.suppress(StopIteration):
        options, files = parse(sys.argv[1:])
    plain = len(files) == 2 and not any(name.startswith(BANDS) for name in options)
    if len(files) < 2 or plain or '-' in files:
        os.execv(REAL, [REAL, *sys.argv[1:]])
    sys.exit(compose(options, files[:-1], files[-1]))


if __name__ == '__main__':
    main()
