#include "findings.h"
#include "../json.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const names[] = {"OK", "WARN", "FAIL"};

static void add_json(struct findings *findings, enum verdict verdict, const char *check, const char *todo,
                     const char *text) {
    struct text *json = &findings->json;
    text_add_string(json, json->len > 0 ? ",\n " : "[");
    text_format(json, "{\"check\":\"%s\",\"verdict\":\"%s\",\"found\":", check, names[verdict]);
    json_c_string(json, text);
    text_add_string(json, ",\"todo\":");
    json_c_string(json, todo);
    text_add_char(json, '}');
}

void found(struct findings *findings, enum verdict verdict, const char *check, const char *todo, const char *format,
           ...) {
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    findings->n[verdict]++;
    if (findings->is_json) {
        add_json(findings, verdict, check, todo, text);
        return;
    }
    printf("%-5s %-9s %s\n", names[verdict], check, text);
    if (todo != NULL)
        printf("%-5s %-9s -> %s\n", "", "", todo);
    fflush(stdout);
}

void findings_end(struct findings *findings) {
    if (findings->is_json) {
        text_add_string(&findings->json, findings->json.len > 0 ? "]\n" : "[]\n");
        text_print(&findings->json);
        text_free(&findings->json);
        return;
    }
    printf("%u OK, %u WARN, %u FAIL\n", findings->n[OK], findings->n[WARN], findings->n[FAIL]);
}
