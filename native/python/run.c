/* Runs: the Python half of a flight, from the call's arguments to the released flight.
 *
 *   place        on                       becomes
 *   RUN_NEW      run_launch               RUN_LANDED or RUN_AWAY
 *   RUN_AWAY     the engine reports       RUN_LANDED, and the owner is told
 *   RUN_LANDED   run_collect, run_leave   (freed)
 *   RUN_AWAY     run_leave                an orphan: freed when it lands
 *   RUN_AWAY,
 *   RUN_LANDED   the engine closes        RUN_LOST, and the owner is told
 *
 * A run owns the leases: arguments, views of memory, encoded paths. They are given back
 * only without a flight, never by the garbage collector. This is the one file that
 * prepares, launches, abandons and releases flights. */
#include "module.h"

#include <errno.h>

enum { RUNS_KEPT_MAX = 256 };

static struct run *free_runs; /* owned: linked by `following` */
static uint32_t free_runs_count;
static size_t runs_alive; /* each may hold leases */

/* --- memory --------------------------------------------------------------------------- */

static int
allocate_many(struct run *run, uint32_t params, uint32_t views)
{
    size_t references = 3 * params * sizeof(PyObject *);
    size_t values = 2 * params * sizeof(uint64_t);
    char *memory = PyMem_Malloc(references + values + views * sizeof(Py_buffer));
    if (memory == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    run->many = memory;
    run->args = (PyObject **)memory;
    run->kept = run->args + params;
    run->values = (uint64_t *)(memory + references);
    run->views = (Py_buffer *)(memory + references + values);
    return 0;
}

size_t
runs_count(void)
{
    return runs_alive;
}

struct run *
run_new(struct syslet_object *syslet)
{
    const struct plan_object *plan = syslet->plan;
    struct run *run = free_runs;
    if (LIKELY(run != NULL)) {
        free_runs = run->following;
        free_runs_count -= 1;
    } else {
        run = PyMem_Calloc(1, sizeof(*run));
        if (run == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        run->args = run->few_args;
        run->kept = run->few_kept;
        run->values = run->few_values;
        run->views = run->few_views;
    }
    if (UNLIKELY(plan->params_count > ARGS_FEW || plan->views > VIEWS_FEW) &&
        allocate_many(run, plan->params_count, plan->views) < 0) {
        PyMem_Free(run);
        return NULL;
    }
    Py_INCREF(syslet);
    run->syslet = syslet;
    runs_alive += 1;
    return run;
}

static void
recycle(struct run *run)
{
    if (run->many != NULL) {
        PyMem_Free(run->many);
        run->many = NULL;
        run->args = run->few_args;
        run->kept = run->few_kept;
        run->values = run->few_values;
        run->views = run->few_views;
    }
    run->place = RUN_NEW;
    run->owner = NULL;
    run->stray = false;
    if (UNLIKELY(free_runs_count == RUNS_KEPT_MAX)) {
        PyMem_Free(run);
        return;
    }
    run->following = free_runs;
    free_runs = run;
    free_runs_count += 1;
}

/* Gives back what was lent. */
void
run_free(struct run *run)
{
    assert(run->flight == NULL && run->engine == NULL);
    while (run->views_count != 0) {
        PyBuffer_Release(&run->views[--run->views_count]);
    }
    while (run->kept_count != 0) {
        Py_DECREF(run->kept[--run->kept_count]);
    }
    while (run->args_count != 0) {
        Py_XDECREF(run->args[--run->args_count]);
    }
    Py_CLEAR(run->item);
    Py_CLEAR(run->syslet);
    runs_alive -= 1;
    recycle(run);
}

/* What a flight in the air borrows is not visited: to the collector it is in use by
 * somebody it does not know, which is true. */
int
run_traverse(struct run *run, visitproc visit, void *arg)
{
    if (run->place == RUN_AWAY || run->stray) {
        return 0;
    }
    Py_VISIT(run->syslet);
    Py_VISIT(run->item);
    for (uint32_t i = 0; i < run->args_count; i++) {
        Py_VISIT(run->args[i]);
    }
    for (uint32_t i = 0; i < run->kept_count; i++) {
        Py_VISIT(run->kept[i]);
    }
    for (uint32_t i = 0; i < run->views_count; i++) {
        Py_VISIT(run->views[i].obj);
    }
    return 0;
}

/* --- launching ------------------------------------------------------------------------- */

static void
link_run(struct run *run, struct engine_object *engine, struct flight *flight)
{
    Py_INCREF(engine);
    run->engine = engine;
    run->flight = flight;
    run->previous = NULL;
    run->following = engine->runs;
    if (engine->runs != NULL) {
        engine->runs->previous = run;
    }
    engine->runs = run;
}

/* The engine is still referenced afterwards: the caller drops that reference last. */
static struct engine_object *
unlink_run(struct run *run)
{
    struct engine_object *engine = run->engine;
    if (run->previous != NULL) {
        run->previous->following = run->following;
    } else {
        engine->runs = run->following;
    }
    if (run->following != NULL) {
        run->following->previous = run->previous;
    }
    run->engine = NULL;
    run->flight = NULL;
    return engine;
}

static void
release_flight(struct run *run)
{
    struct flight *flight = run->flight;
    struct engine_object *engine = unlink_run(run);
    flight_release(flight);
    Py_DECREF(engine);
}

static void
fill_cells(const struct run *run, struct flight *flight)
{
    const struct plan_object *plan = run->syslet->plan;
    uint64_t *cells = flight_cells(flight);
    for (uint32_t i = 0; i < plan->params_count; i++) {
        const struct param *param = &plan->params[i];
        cells[param->cell] = run->values[2 * i];
        cells[param->second] = run->values[2 * i + 1];
    }
    cells[0] = 0; /* took what nobody reads */
}

/* A limit says its name and where it is set. */
static void
refuse_one_more(uint32_t most)
{
    PyObject *text = PyUnicode_FromFormat(
        "%u flights of this loop are in the air, which is the limit "
        "(SYSLET_LOOP_FLIGHTS)",
        most);
    PyObject *arguments = text == NULL ? NULL : Py_BuildValue("(iN)", EAGAIN, text);
    if (arguments != NULL) {
        PyErr_SetObject(PyExc_OSError, arguments);
        Py_DECREF(arguments);
    }
}

static int
refuse_flight(const struct engine_object *engine)
{
    const struct engine_options *options = &engine->options;
    uint32_t most = options->flights_max != 0 ? options->flights_max : FLIGHTS_MAX;
    struct engine_stats stats;
    engine_stats_get(engine->engine, &stats);
    if (engine->closing) {
        PyErr_SetString(PyExc_RuntimeError, "the engine is being closed");
    } else if (stats.prepared >= most) {
        refuse_one_more(most);
    } else if (options->memory_max != 0) {
        PyErr_Format(PyExc_MemoryError,
                     "no memory for new buffers: %llu bytes are in use, the limit is "
                     "%llu (SYSLET_LOOP_MEMORY)",
                     (unsigned long long)stats.memory,
                     (unsigned long long)options->memory_max);
    } else {
        PyErr_NoMemory();
    }
    return -1;
}

int
run_launch(struct run *run, const struct engine_object *expected)
{
    assert(run->place == RUN_NEW);
    if (run_bind(run) < 0) {
        return -1;
    }
    /* After binding, which may run any Python code; none runs from here to the end. */
    struct engine_object *engine = engine_current();
    if (UNLIKELY(engine == NULL)) {
        return -1;
    }
    if (UNLIKELY(expected != NULL && engine != expected)) {
        PyErr_Format(PyExc_RuntimeError,
                     "this iterator of syslet '%U' belongs to "
                     "another loop",
                     run->syslet->name);
        return -1;
    }
    struct flight *flight = flight_prepare(engine->engine, run->syslet->plan->plan);
    if (UNLIKELY(flight == NULL)) {
        return refuse_flight(engine);
    }
    fill_cells(run, flight);
    flight_host_set(flight, run);
    link_run(run, engine, flight);
    run->place = RUN_AWAY;
    engine->inside += 1;
    int res = flight_launch(flight);
    engine->inside -= 1;
    if (res == FLIGHT_LANDED) {
        run->place = RUN_LANDED;
    } else {
        engine_flush(engine);
    }
    return 0;
}

/* --- landing ----------------------------------------------------------------------------- */

/* Freed later, outside of engine_turn: giving leases back may run any Python code. */
static void
bury(struct run *run)
{
    struct flight *flight = run->flight;
    struct engine_object *engine = unlink_run(run);
    flight_release(flight);
    run->following = engine->dead;
    engine->dead = run;
    /* Whoever drives the engine holds another reference. */
    Py_DECREF(engine);
}

void
run_report_landed(void *context, struct flight *flight)
{
    struct engine_object *engine = context;
    struct run *run = flight_host(flight);
    assert(run->place == RUN_AWAY && run->flight == flight);
    run->place = RUN_LANDED;
    if (run->owner == NULL) {
        bury(run);
        return;
    }
    if (engine->closing) {
        release_flight(run);
        run->place = RUN_LOST;
    }
    run->landed(run);
}

bool
run_report_emitted(void *context, struct flight *flight, uint64_t report)
{
    (void)context;
    struct run *run = flight_host(flight);
    return run->emitted == NULL || run->emitted(run, report);
}

static PyObject *
evaluate(struct run *run)
{
    const struct plan_object *plan = run->syslet->plan;
    uint32_t last = flight_last_atom(run->flight);
    if (LIKELY(last != UINT32_MAX)) {
        const struct program_atom *atom = plan_atom(plan->plan, last);
        if ((atom->private & PRIVATE_CHECK) && flight_last_result(run->flight) < 0) {
            return run_failure(run);
        }
        if (atom->flags & SYSLET_NO_COMPLETE) {
            Py_RETURN_NONE;
        }
    }
    struct fd_list fds;
    fds.count = 0;
    PyObject *result = node_build(&plan->result, run, &fds);
    if (result != NULL && fds.count != 0) {
        fds_take(run, &fds);
    }
    return result;
}

static PyObject *
report_lost(const struct run *run)
{
    return PyErr_Format(PyExc_RuntimeError,
                        "the loop was closed while syslet '%U' was in the air",
                        run->syslet->name);
}

PyObject *
run_collect(struct run *run)
{
    assert(run->place == RUN_LANDED || run->place == RUN_LOST);
    if (UNLIKELY(run->place == RUN_LOST)) {
        return report_lost(run);
    }
    struct engine_object *engine = run->engine;
    if (UNLIKELY(!engine_is_mine(engine))) {
        return NULL;
    }
    PyObject *result;
    engine->inside += 1; /* templates may call Python, which must not close it */
    if (UNLIKELY(flight_end(run->flight) == FLIGHT_CANCELLED)) {
        result = report_lost(run);
    } else {
        result = evaluate(run);
    }
    engine->inside -= 1;
    release_flight(run);
    run->place = RUN_LOST;
    return result;
}

/* --- leaving ------------------------------------------------------------------------------- */

static void
abandon(struct run *run)
{
    struct engine_object *engine = run->engine;
    flight_abandon(run->flight);
    engine_flush(engine);
}

void
run_leave(struct run *run)
{
    run->owner = NULL;
    if (run->flight == NULL) {
        run_free(run);
        return;
    }
    struct engine_object *engine = run->engine;
    if (engine->engine == NULL || engine_is_forked(engine->engine)) {
        return; /* the parent's: it, its memory and its fds are not ours to touch */
    }
    if (PyThread_get_thread_ident() != engine->thread) {
        run->stray = true;
        engine->strays = true;
        engine_wake(engine->engine);
        return;
    }
    if (run->place == RUN_LANDED) {
        release_flight(run);
        run_free(run);
    } else {
        abandon(run);
    }
}

void
runs_see_to_strays(struct engine_object *engine)
{
    struct run *run = engine->runs;
    engine->strays = false;
    while (run != NULL) {
        struct run *following = run->following;
        if (run->stray) {
            run->stray = false;
            if (run->place == RUN_LANDED) {
                bury(run);
            } else {
                flight_abandon(run->flight);
            }
        }
        run = following;
    }
}

void
runs_free_dead(struct engine_object *engine)
{
    while (engine->dead != NULL) {
        struct run *run = engine->dead;
        engine->dead = run->following;
        run_free(run);
    }
}

void
runs_lose_all(struct engine_object *engine)
{
    struct run *run = engine->runs;
    while (run != NULL) {
        struct run *following = run->following;
        if (run->place == RUN_LANDED && run->owner == NULL) {
            bury(run);
        } else if (run->place == RUN_LANDED) {
            release_flight(run);
            run->place = RUN_LOST;
        }
        run = following;
    }
}
