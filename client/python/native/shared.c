/* rapyerd._shared: documents that the daemon shows to all in memory, as dicts of Python.
 *
 *   shared.py (asks for the memory, says what may be read) ──► this ──► protocol/segment
 *
 * One class: `Segment(fd, timestamp, tell)` maps the memory; `get(key)` copies a document out of
 * it, makes sure that it was one state of it, and only then makes Python objects of the copy.
 * Whatever is not as it should be is None: ask the daemon. It is called with the interpreter's lock
 * held, and needs nothing of Python but what stays the same from 3.10 on.
 */
#define Py_LIMITED_API 0x030A0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "protocol/cursor.h"
#include "protocol/segment.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#define TRIES 4           /* of a read, while the document is being changed */
#define DEPTH 64          /* of containers; the daemon knows 32 */
#define TELL_EVERY 4096u  /* reads, so that the daemon keeps in its memory what is read here */
#define NAMES 256u        /* a power of two */
#define NAME_MAX_BYTES 31 /* of a name that is remembered */

/* Names of fields come again with each document: they are made once. */
struct name {
    uint8_t len;
    char text[NAME_MAX_BYTES];
    PyObject *str;
};

struct shared {
    PyObject_HEAD struct segment segment;
    void *memory;
    size_t size;
    unsigned long long hits, stamp; /* records that are older than the stamp are not taken */
    bool gone;
    PyObject *timestamp; /* made of seconds and nanoseconds */
    PyObject *tell;      /* called with a count and a key, once for so many reads */
    uint8_t *room;       /* for the next copy; who is at work has it */
    size_t room_size;
    struct name names[NAMES];
};

static uint64_t now_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- Python objects ---- */

static PyObject *value_of(struct shared *s, struct cursor *c, unsigned depth);

static PyObject *name_of(struct shared *s, const char *text, size_t len)
{
    uint32_t hash = (uint32_t)len;
    if (len > NAME_MAX_BYTES)
        return PyUnicode_FromStringAndSize(text, (Py_ssize_t)len);
    for (size_t i = 0; i < len; i++)
        hash = hash * 31 + (uint8_t)text[i];
    struct name *n = &s->names[(hash ^ hash >> 8) & (NAMES - 1)];
    if (!n->str || n->len != len || memcmp(n->text, text, len) != 0) {
        PyObject *str = PyUnicode_FromStringAndSize(text, (Py_ssize_t)len);
        if (!str)
            return NULL;
        PyUnicode_InternInPlace(&str);
        Py_XDECREF(n->str);
        n->str = str;
        n->len = (uint8_t)len;
        memcpy(n->text, text, len);
    }
    Py_INCREF(n->str);
    return n->str;
}

static PyObject *list_of(struct shared *s, struct cursor *c, uint32_t count, unsigned depth)
{
    PyObject *list = count <= (size_t)(c->end - c->at) ? PyList_New((Py_ssize_t)count) : NULL;
    for (uint32_t i = 0; list && i < count; i++) {
        PyObject *element = value_of(s, c, depth);
        if (element)
            PyList_SetItem(list, (Py_ssize_t)i, element);
        else
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *dict_of(struct shared *s, struct cursor *c, uint32_t pairs, unsigned depth)
{
    PyObject *dict = PyDict_New();
    for (uint32_t i = 0; dict && i < pairs; i++) {
        struct cursor at = *c;
        const char *text;
        size_t len;
        struct item it;
        bool name =
            cursor_peek(c, &it) == 0 && it.kind == ITEM_STR && cursor_str(&at, &text, &len) == 0;
        PyObject *key = name ? name_of(s, text, len) : value_of(s, c, depth);
        if (name)
            *c = at;
        PyObject *value = key ? value_of(s, c, depth) : NULL;
        if (!value || PyDict_SetItem(dict, key, value) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    return dict;
}

/* NULL without an error: those are not the bytes of a value. */
static PyObject *value_of(struct shared *s, struct cursor *c, unsigned depth)
{
    struct item it;
    if (depth > DEPTH || cursor_next(c, &it) < 0)
        return NULL;
    switch (it.kind) {
    case ITEM_NIL: Py_INCREF(Py_None); return Py_None;
    case ITEM_BOOL: return PyBool_FromLong(it.boolean);
    case ITEM_INT: return PyLong_FromLongLong(it.integer);
    case ITEM_UINT: return PyLong_FromUnsignedLongLong(it.uinteger);
    case ITEM_FLOAT: return PyFloat_FromDouble(it.real);
    case ITEM_STR:
        return PyUnicode_FromStringAndSize((const char *)it.bytes.p, (Py_ssize_t)it.bytes.len);
    case ITEM_BIN:
        return PyBytes_FromStringAndSize((const char *)it.bytes.p, (Py_ssize_t)it.bytes.len);
    case ITEM_TIME:
        return PyObject_CallFunction(s->timestamp, "LI", (long long)it.time.sec,
                                     (unsigned)it.time.nsec);
    case ITEM_ARRAY: return list_of(s, c, it.count, depth + 1);
    case ITEM_MAP: return dict_of(s, c, it.count, depth + 1);
    case ITEM_EXT: break;
    }
    return NULL;
}

/* A document: the last pair of its map is the version, which nobody has asked for. */
static PyObject *document_of(struct shared *s, const uint8_t *bytes, size_t len)
{
    struct cursor c = cursor_of(bytes, len);
    uint32_t pairs;
    return cursor_map(&c, &pairs) == 0 && pairs > 0 ? dict_of(s, &c, pairs - 1, 1) : NULL;
}

/* ---- the memory ---- */

static bool find(struct shared *s, const char *key, size_t len, struct segment_view *v)
{
    uint64_t generation = segment_readable(&s->segment, now_ns(CLOCK_BOOTTIME), &s->gone);
    return generation && segment_find(&s->segment, key, len, v) && v->generation == generation &&
           v->stamp >= s->stamp &&
           (v->expires == 0 || (int64_t)(now_ns(CLOCK_REALTIME) / 1000000) < v->expires);
}

/* Room for a copy, which is this call's until it is given back: another thread may come in between.
 */
static uint8_t *take_room(struct shared *s, size_t len, size_t *size)
{
    uint8_t *room = s->room;
    *size = s->room_size;
    s->room = NULL;
    if (!room || *size < len) {
        free(room);
        *size = len < 4096 ? 4096 : len;
        room = malloc(*size);
    }
    return room;
}

static void give_room(struct shared *s, uint8_t *room, size_t size)
{
    if (s->room) {
        free(room);
        return;
    }
    s->room = room;
    s->room_size = size;
}

static PyObject *counted(struct shared *s, PyObject *key, PyObject *document)
{
    if (++s->hits % TELL_EVERY == 0) {
        PyObject *told = PyObject_CallFunction(s->tell, "IO", TELL_EVERY, key);
        Py_XDECREF(told);
        if (!told)
            Py_CLEAR(document);
    }
    return document;
}

static PyObject *shared_get(PyObject *self, PyObject *key)
{
    struct shared *s = (struct shared *)self;
    struct segment_view v;
    Py_ssize_t len;
    size_t size;
    PyObject *document = NULL;
    const char *text = PyUnicode_AsUTF8AndSize(key, &len);
    if (!text)
        return NULL;
    for (int i = 0; i < TRIES && find(s, text, (size_t)len, &v); i++) {
        uint8_t *room = take_room(s, v.len, &size);
        if (!room)
            return PyErr_NoMemory();
        bool whole = segment_copy(&s->segment, &v, 0, v.len, room);
        if (whole)
            document = document_of(s, room, v.len);
        give_room(s, room, size);
        if (whole)
            break;
    }
    if (document)
        return counted(s, key, document);
    if (PyErr_Occurred())
        return NULL;
    Py_INCREF(Py_None);
    return Py_None;
}

/* Memory that can shrink would end this process with SIGBUS one day. */
static int map(struct shared *s, int fd)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) < 0)
        return -1;
    s->size = (size_t)st.st_size;
    s->memory = mmap(NULL, s->size, PROT_READ, MAP_SHARED, fd, 0);
    if (s->memory == MAP_FAILED)
        s->memory = NULL;
    return s->memory ? segment_join(&s->segment, s->memory, s->size) : -1;
}

/* ---- the class ---- */

static void shared_free(PyObject *self)
{
    struct shared *s = (struct shared *)self;
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    if (s->memory)
        munmap(s->memory, s->size);
    for (unsigned i = 0; i < NAMES; i++)
        Py_XDECREF(s->names[i].str);
    Py_XDECREF(s->timestamp);
    Py_XDECREF(s->tell);
    free(s->room);
    release(self);
    Py_DECREF(type);
}

static PyObject *shared_new(PyTypeObject *type, PyObject *args, PyObject *named)
{
    int fd;
    PyObject *timestamp, *tell;
    if ((named && PyDict_Size(named)) ||
        !PyArg_ParseTuple(args, "iOO:Segment", &fd, &timestamp, &tell))
        return NULL;
    allocfunc make = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    struct shared *s = (struct shared *)make(type, 0);
    if (!s)
        return NULL;
    Py_INCREF(timestamp);
    s->timestamp = timestamp;
    Py_INCREF(tell);
    s->tell = tell;
    if (map(s, fd) == 0)
        return (PyObject *)s;
    Py_DECREF((PyObject *)s);
    PyErr_SetString(PyExc_ValueError,
                    "that is no memory that rapyerd has sealed, or of another layout");
    return NULL;
}

static PyObject *shared_hits(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(((struct shared *)self)->hits);
}

static PyObject *shared_stamp(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(((struct shared *)self)->stamp);
}

static int shared_set_stamp(PyObject *self, PyObject *value, void *unused)
{
    (void)unused;
    unsigned long long stamp = value ? PyLong_AsUnsignedLongLong(value) : 0;
    if (PyErr_Occurred())
        return -1;
    ((struct shared *)self)->stamp = stamp;
    return 0;
}

static PyObject *shared_gone(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct shared *)self)->gone);
}

static PyMethodDef methods[] = {
    {"get", shared_get, METH_O, "The document of a key as doc.get answers it; None: ask."},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef members[] = {
    {"hits", shared_hits, NULL, "How many documents were read here.", NULL},
    {"stamp", shared_stamp, shared_set_stamp, "What is read must be as new as this.", NULL},
    {"gone", shared_gone, NULL, "Nothing can be read here any more, for ever.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot slots[] = {
    {Py_tp_new, shared_new},
    {Py_tp_dealloc, shared_free},
    {Py_tp_methods, methods},
    {Py_tp_getset, members},
    {Py_tp_doc, "The daemon's shared memory, to read in."},
    {0, NULL},
};
static PyType_Spec spec = {
    .name = "rapyerd._shared.Segment",
    .basicsize = sizeof(struct shared),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "rapyerd._shared",
    .m_doc = "Documents in memory that the daemon shows to all.",
    .m_size = -1,
};

PyMODINIT_FUNC PyInit__shared(void)
{
    PyObject *made = PyModule_Create(&module);
    PyObject *type = made ? PyType_FromSpec(&spec) : NULL;
    if (type && PyModule_AddObject(made, "Segment", type) == 0)
        return made;
    Py_XDECREF(type);
    Py_XDECREF(made);
    return NULL;
}
