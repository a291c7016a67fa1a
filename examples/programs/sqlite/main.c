/* Runs SQL from a file or from standard input against a database, and prints the rows or writes them as CSV.

   sqlite.wasm [--csv FILE] DATABASE [SQL-FILE]

   Rows are printed as the sqlite3 shell does it in its list mode: values between bars, NULL as nothing. With --csv the
   rows of all statements go into FILE instead (RFC 4180, each statement's column names first). Exits with 0, with 1
   where SQLite reported an error (the message is on standard error), with 2 on wrong usage. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sqlite3.h"

static char *read_all(FILE *file) {
    size_t size = 0, capacity = 4096;
    char *text = malloc(capacity);
    while (text != NULL) {
        size += fread(text + size, 1, capacity - size - 1, file);
        if (size + 1 < capacity) {
            if (ferror(file)) break;
            text[size] = '\0';
            return text;
        }
        char *larger = realloc(text, capacity *= 2);
        if (larger == NULL) break;
        text = larger;
    }
    free(text);
    return NULL;
}

static void write_field(FILE *out, const char *text) {
    if (strpbrk(text, ",\"\r\n") == NULL) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"') fputc('"', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

static void write_columns(sqlite3_stmt *statement, FILE *out) {
    for (int column = 0; column < sqlite3_column_count(statement); column++) {
        if (column > 0) fputc(',', out);
        write_field(out, sqlite3_column_name(statement, column));
    }
    fputs("\r\n", out);
}

static void write_row(sqlite3_stmt *statement, FILE *out, int as_csv) {
    for (int column = 0; column < sqlite3_column_count(statement); column++) {
        const char *text = (const char *)sqlite3_column_text(statement, column);
        if (column > 0) fputc(as_csv ? ',' : '|', out);
        if (text == NULL) continue;
        if (as_csv) write_field(out, text);
        else fputs(text, out);
    }
    fputs(as_csv ? "\r\n" : "\n", out);
}

static int run(sqlite3 *database, const char *sql, FILE *out, int as_csv) {
    while (*sql != '\0') {
        sqlite3_stmt *statement = NULL;
        if (sqlite3_prepare_v2(database, sql, -1, &statement, &sql) != SQLITE_OK) return 1;
        if (statement == NULL) continue;
        int names_written = 0, status;
        while ((status = sqlite3_step(statement)) == SQLITE_ROW) {
            if (as_csv && !names_written) {
                write_columns(statement, out);
                names_written = 1;
            }
            write_row(statement, out, as_csv);
        }
        if (sqlite3_finalize(statement) != SQLITE_OK || status != SQLITE_DONE) return 1;
    }
    return 0;
}

static int fail(const char *what, const char *why) {
    fprintf(stderr, "sqlite: %s: %s\n", what, why);
    return 1;
}

int main(int count, char **arguments) {
    const char *csv = NULL;
    int next = 1;
    if (count > 2 && strcmp(arguments[1], "--csv") == 0) {
        csv = arguments[2];
        next = 3;
    }
    if (count - next < 1 || count - next > 2) {
        fputs("usage: sqlite [--csv FILE] DATABASE [SQL-FILE]\n", stderr);
        return 2;
    }
    const char *path = arguments[next];
    FILE *source = count - next == 2 ? fopen(arguments[next + 1], "rb") : stdin;
    if (source == NULL) return fail(arguments[next + 1], "cannot be opened");
    char *sql = read_all(source);
    if (sql == NULL) return fail("the SQL", "cannot be read");
    FILE *out = csv != NULL ? fopen(csv, "wb") : stdout;
    if (out == NULL) return fail(csv, "cannot be written");

    /* WASI has no locks on files, and nobody else is there. */
    sqlite3 *database = NULL;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    int status = sqlite3_open_v2(path, &database, flags, "unix-none");
    if (status == SQLITE_OK) status = run(database, sql, out, csv != NULL);
    if (status != SQLITE_OK) fail(path, database != NULL ? sqlite3_errmsg(database) : "no memory");
    sqlite3_close(database);
    if (fflush(out) != 0 || (csv != NULL && fclose(out) != 0)) return fail(csv != NULL ? csv : "the output", "cannot be written");
    free(sql);
    return status != SQLITE_OK;
}
