"""Budgets of docs/design.md section 8: sizes of files and functions, include cycles, `#if`.

usage: budgets.py FILE...    (relative to the root of the tree, which is the current folder)

One line per violation on stdout, exit code 1 if there is any. Functions of C++ are found by their
braces: an approximation, but one that needs no compiler and errs on the side of no complaint.
"""

import ast
import os
import re
import statistics
import sys

FILE_MEDIAN, FILE_LIMIT = 150, 500
FUNCTION_TYPICAL, FUNCTION_SHARE, FUNCTION_LIMIT = 40, 0.9, 100
COLUMNS = 100
PUBLIC_HEADERS = 8
CONDITIONALS_ALLOWED = ("src/kernels/", "src/base/half.h")
GENERATED = ("tests/golden/",)

TOKENS = re.compile(
    r"""//[^\n]*|/\*.*?\*/|R"([^\s()\\]*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.S
)
DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(\w+)(?:\\\n|[^\n])*", re.M)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.M)
NOT_FUNCTIONS = {"if", "for", "while", "switch", "catch", "namespace", "class", "struct", "union",
                 "enum", "extern", "do", "else", "try", "return"}


def blank(match):
    """Spaces instead of a match, line breaks kept, so that offsets and line numbers stay."""
    return re.sub(r"[^\n]", " ", match.group())


def code_only(text):
    text = re.sub(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F])", " ", text)  # 1'000'000
    return TOKENS.sub(blank, text)


def is_function(head):
    """Whether the text between the last ; { or } and this { opens the body of a function."""
    words = re.findall(r"\w+", head)
    if not words or "(" not in head or words[0] in NOT_FUNCTIONS:
        return False
    before_call = head.split("(", 1)[0]
    if re.search(r"(?<![=!<>])=(?!=)", before_call) and "operator" not in before_call:
        return False  # an initializer, a lambda bound to a name
    words_before = re.findall(r"\w+", before_call)
    return bool(words_before) and words_before[-1] not in NOT_FUNCTIONS


def cpp_functions(text):
    """(name, first line, lines) of each function body that no other function encloses."""
    code = DIRECTIVE.sub(blank, code_only(text))
    found, stack, start, parentheses = [], [], 0, 0
    for match in re.finditer(r"[{};()]", code):
        place, mark = match.start(), match.group()
        if mark in "()":
            parentheses = max(0, parentheses + (1 if mark == "(" else -1))
        if parentheses or mark == ")":  # lambdas and braced values in a call belong to the caller
            continue
        if mark == "{":
            head = code[start:place].strip()
            head = re.sub(r"^(?:public|private|protected)\s*:", "", head).strip()
            inside = any(entry is not None for entry in stack)
            stack.append((head, place - len(code[start:place].lstrip()))
                         if not inside and is_function(head) else None)
        elif mark == "}" and stack:
            entry = stack.pop()
            if entry:
                first = code.count("\n", 0, entry[1]) + 1
                last = code.count("\n", 0, place) + 1
                name = re.findall(r"[\w:~]+(?=\s*\()", entry[0])
                found.append((name[0] if name else "?", first, last - first + 1))
        start = match.end()
    return found


def python_functions(text):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [(node.name, node.lineno, node.end_lineno - node.lineno + 1)
            for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]


def check_lines(path, text):
    lines = text.splitlines()
    if len(lines) > FILE_LIMIT:
        yield f"{path}: {len(lines)} lines, limit {FILE_LIMIT}"
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS:
            yield f"{path}:{number}: {len(line)} columns, limit {COLUMNS}"
    if path.endswith(".py") or path.startswith(CONDITIONALS_ALLOWED):
        return
    for match in DIRECTIVE.finditer(code_only(text)):
        if match.group(1).startswith(("if", "elif")):
            number = text.count("\n", 0, match.start()) + 1
            yield f"{path}:{number}: #{match.group(1)} outside {' and '.join(CONDITIONALS_ALLOWED)}"


def check_functions(functions):
    """functions: (path, name, line, lines) of the whole tree."""
    for path, name, line, lines in functions:
        if lines > FUNCTION_LIMIT:
            yield f"{path}:{line}: {name} has {lines} lines, limit {FUNCTION_LIMIT}"
    if not functions:
        return
    short = sum(lines <= FUNCTION_TYPICAL for *_, lines in functions) / len(functions)
    if short < FUNCTION_SHARE:
        yield (f"only {short:.1%} of the functions have at most {FUNCTION_TYPICAL} lines, "
               f"wanted {FUNCTION_SHARE:.0%}")


def include_graph(texts):
    """path -> the paths of the tree it includes (relative to itself, src/ or include/)."""
    graph = {}
    for path, text in texts.items():
        folders = (os.path.dirname(path), "src", "include", "")
        graph[path] = []
        for name in INCLUDE.findall(text):
            places = (os.path.normpath(os.path.join(folder, name)) for folder in folders)
            graph[path] += [place for place in places if place in texts][:1]
    return graph


def find_cycles(graph):
    """One list of paths per cycle found by a depth-first walk."""
    state, cycles = {}, []

    def walk(path, trail):
        state[path] = "open"
        for target in graph[path]:
            if state.get(target) == "open":
                cycles.append(trail[trail.index(target):] + [target])
            elif target not in state:
                walk(target, trail + [target])
        state[path] = "done"

    for path in graph:
        if path not in state:
            walk(path, [path])
    return cycles


def violations(texts):
    functions = []
    for path, text in texts.items():
        yield from check_lines(path, text)
        found = python_functions(text) if path.endswith(".py") else cpp_functions(text)
        functions += [(path, *function) for function in found]
    yield from check_functions(functions)
    median = statistics.median(len(text.splitlines()) for text in texts.values())
    if median > FILE_MEDIAN:
        yield f"the median file has {median:.0f} lines, wanted {FILE_MEDIAN}"
    cpp = {path: text for path, text in texts.items() if not path.endswith(".py")}
    for cycle in find_cycles(include_graph(cpp)):
        yield "include cycle: " + " -> ".join(cycle)
    public = [path for path in texts if re.fullmatch(r"include/kvkeep/.*\.h", path)]
    if len(public) > PUBLIC_HEADERS:
        yield f"include/kvkeep: {len(public)} headers, limit {PUBLIC_HEADERS}"


def main(paths):
    texts = {}
    for path in paths:
        if not path.startswith(GENERATED):
            with open(path, encoding="utf-8") as file:
                texts[os.path.normpath(path)] = file.read()
    if not texts:
        sys.exit("budgets.py: no files given")
    found = list(violations(texts))
    for line in found:
        print(line)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
