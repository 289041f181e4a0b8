// A CUDA driver without a GPU: just enough of libcuda.so.1 for the unmodified cuda-core to load kernels, capture and
// replay on, and strict where a real driver is undefined. Signatures: NVIDIA, CUDA Driver API 13.0 (cuda.h).
//
// * Streams are lazy: nothing runs before something waits for it, so a forgotten synchronisation shows at once.
// * Memory is 0xCD until written and 0xDD once freed, is never handed out twice and has a red zone at either end.
// * A kernel is a host function of the object named by TFS_FAKE_CUDA_KERNELS:
//       extern "C" int tfs_host_params_<name>(int* sizes);   // how many parameters, and the bytes of each
//       extern "C" void tfs_host_<name>(void** params, unsigned grid, unsigned block);
// * Every misuse returns a CUDA error, counts as a fault and leaves a line in the report.
//
// It says nothing of concurrency on the device, of alignment, of timing, or of what a cubin holds.

#include <dlfcn.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))
#define ENTRY std::lock_guard<std::recursive_mutex> entered(gate)

namespace {

using Address = unsigned long long;  // CUdeviceptr

enum Result : int {
    SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101,
    INVALID_IMAGE = 200, INVALID_CONTEXT = 201, INVALID_HANDLE = 400, ILLEGAL_STATE = 401, NOT_FOUND = 500,
    ILLEGAL_ADDRESS = 700, NOT_SUPPORTED = 801, STREAM_CAPTURE_UNSUPPORTED = 900, STREAM_CAPTURE_INVALIDATED = 901,
    CAPTURED_EVENT = 907, STREAM_CAPTURE_WRONG_THREAD = 908,
};

const std::map<int, const char*> ERRORS = {
#define NAMED(error) {error, "CUDA_ERROR_" #error}
    {SUCCESS, "CUDA_SUCCESS"}, NAMED(INVALID_VALUE), NAMED(OUT_OF_MEMORY), NAMED(NOT_INITIALIZED), NAMED(NO_DEVICE),
    NAMED(INVALID_DEVICE), NAMED(INVALID_IMAGE), NAMED(INVALID_CONTEXT), NAMED(INVALID_HANDLE), NAMED(ILLEGAL_STATE),
    NAMED(NOT_FOUND), NAMED(ILLEGAL_ADDRESS), NAMED(NOT_SUPPORTED), NAMED(STREAM_CAPTURE_UNSUPPORTED),
    NAMED(STREAM_CAPTURE_INVALIDATED), NAMED(CAPTURED_EVENT), NAMED(STREAM_CAPTURE_WRONG_THREAD),
#undef NAMED
};

// ---------------------------------------------------------------------------------------------- what it remembers

std::recursive_mutex gate;
std::map<std::string, long long> counters;
std::string report;

int fault(int error, const std::string& what) {
    counters["faults"]++;
    report += std::string(ERRORS.at(error)) + ": " + what + "\n";
    return error;
}

std::string hex(Address address) {
    char text[32];
    std::snprintf(text, sizeof text, "0x%llx", address);
    return text;
}

long long setting(const char* name, long long otherwise) {
    const char* text = std::getenv(name);
    return text && *text ? std::atoll(text) : otherwise;
}

long long devices() { return setting("TFS_FAKE_CUDA_DEVICES", 1); }
long long total_memory() { return setting("TFS_FAKE_CUDA_MEMORY", 8LL << 30); }

int capability(int part) {
    const char* text = std::getenv("TFS_FAKE_CUDA_CC");
    int major = 8, minor = 9;
    if (text) std::sscanf(text, "%d.%d", &major, &minor);
    return part ? minor : major;
}

// ---------------------------------------------------------------------------------------------------------- memory

constexpr size_t RED_ZONE = 256;

struct Block {
    Address base;
    size_t size;
    bool pinned, live = true;

    bool covers(Address from, size_t bytes) const { return from >= base && from + bytes <= base + size; }
    bool intact() const {
        const unsigned char* start = reinterpret_cast<unsigned char*>(base);
        for (size_t i = 1; i <= RED_ZONE; i++)
            if (start[-static_cast<long>(i)] != 0xFD || start[size + i - 1] != 0xFD) return false;
        return true;
    }
};

std::map<Address, Block> blocks;  // by base, the freed ones too

Block* block_at(Address address) {  // red zones included
    auto after = blocks.upper_bound(address + RED_ZONE);
    if (after == blocks.begin()) return nullptr;
    Block& block = std::prev(after)->second;
    return address < block.base + block.size + RED_ZONE ? &block : nullptr;
}

Address allocate(size_t size, bool pinned) {
    size_t room = (size + 2 * RED_ZONE + 255) / 256 * 256;
    auto* raw = static_cast<unsigned char*>(std::aligned_alloc(256, room));
    std::memset(raw, 0xFD, room);
    std::memset(raw + RED_ZONE, 0xCD, size);
    Address base = reinterpret_cast<Address>(raw + RED_ZONE);
    blocks[base] = Block{base, size, pinned};
    counters["allocations"]++;
    counters[pinned ? "pinned_bytes" : "live_bytes"] += static_cast<long long>(size);
    return base;
}

void release(Block& block) {
    block.live = false;
    std::memset(reinterpret_cast<void*>(block.base), 0xDD, block.size);
    counters["frees"]++;
    counters[block.pinned ? "pinned_bytes" : "live_bytes"] -= static_cast<long long>(block.size);
}

// A range is host memory of no allocation of ours, or lies in one live allocation.
int check_range(Address from, size_t bytes, const std::string& what) {
    Block* block = block_at(from);
    if (!block) return SUCCESS;
    if (!block->live) return fault(ILLEGAL_ADDRESS, what + " at " + hex(from) + ", which was freed");
    if (!block->covers(from, bytes))
        return fault(INVALID_VALUE, what + " of " + std::to_string(bytes) + " bytes out of range: the allocation has " +
                                        std::to_string(block->size));
    return SUCCESS;
}

// --------------------------------------------------------------------------------- contexts, streams, graphs, events

struct Context {
    int device;
};
struct Node {
    std::function<int()> check, run;  // what must hold when it is enqueued and again when it runs; what it does
};
struct Graph {
    std::vector<Node> nodes;
};
struct Capture {
    std::shared_ptr<Graph> graph;
    int mode;  // CUstreamCaptureMode: 0 global, 1 thread-local, 2 relaxed
    std::thread::id thread;
    bool invalidated = false;
};
struct Stream {
    std::vector<Node> queue;
    std::unique_ptr<Capture> capture;
    int failure = SUCCESS;  // of something that ran, told at the next wait
};
struct Event {
    bool captured = false;
};
struct Kernel {
    std::string name;
    std::vector<int> sizes;
    void (*body)(void**, unsigned, unsigned);
};
struct Library {
    std::map<std::string, std::unique_ptr<Kernel>> kernels;
};
struct UserObject {
    void (*destroy)(void*);
    void* object;
    unsigned references;
};

bool initialized = false;
thread_local Context* current = nullptr;
std::vector<std::unique_ptr<Context>> contexts;
std::map<void*, std::unique_ptr<Stream>> streams;
std::map<void*, std::unique_ptr<Event>> events;
std::map<void*, std::shared_ptr<Graph>> graphs, executables;
std::map<void*, std::unique_ptr<Library>> libraries;
std::map<void*, std::vector<UserObject*>> retained;  // by graph, executable or not

void let_go(UserObject* object) {
    if (--object->references) return;
    object->destroy(object->object);
    delete object;
}

void let_go_of_all(void* graph) {
    for (UserObject* object : std::exchange(retained[graph], {})) let_go(object);
    retained.erase(graph);
}

// What a stream handle means; null, with the fault told, for a default stream and for none.
Stream* stream_of(void* handle, const std::string& what, int* error) {
    *error = SUCCESS;
    if (auto found = streams.find(handle); found != streams.end()) return found->second.get();
    if (reinterpret_cast<Address>(handle) <= 2)
        *error = fault(INVALID_HANDLE, what + " on a default stream");
    else
        *error = fault(INVALID_HANDLE, what + " on " + hex(reinterpret_cast<Address>(handle)) + ", which is no stream");
    return nullptr;
}

int break_capture(Stream& stream, const std::string& what, int error = STREAM_CAPTURE_UNSUPPORTED) {
    stream.capture->invalidated = true;
    return fault(error, what + " during capture");
}

// "Potentially unsafe" calls and the captures that forbid them: cuThreadExchangeStreamCaptureMode in cuda.h.
int unsafe_call(const std::string& what) {
    for (auto& [_, stream] : streams) {
        Capture* capture = stream->capture.get();
        bool mine = capture && capture->thread == std::this_thread::get_id();
        if (capture && (capture->mode == 0 || (capture->mode == 1 && mine))) return break_capture(*stream, what);
    }
    return SUCCESS;
}

int whole_device(const std::string& what) {  // waits for every stream, so for a capturing one too
    for (auto& [_, stream] : streams)
        if (stream->capture) return break_capture(*stream, what);
    return SUCCESS;
}

int drain(Stream& stream) {
    std::vector<Node> queue;
    queue.swap(stream.queue);
    for (Node& node : queue) {
        int error = node.check();
        if (!error) error = node.run();
        if (error && !stream.failure) stream.failure = error;
    }
    return std::exchange(stream.failure, SUCCESS);
}

int drain_all() {
    int first = SUCCESS;
    for (auto& [_, stream] : streams)
        if (int error = drain(*stream); error && !first) first = error;
    return first;
}

int submit(Stream& stream, Node node, const std::string& what) {
    if (stream.capture && stream.capture->invalidated)
        return fault(STREAM_CAPTURE_INVALIDATED, what + " after a broken capture");
    if (int error = node.check()) return error;
    (stream.capture ? stream.capture->graph->nodes : stream.queue).push_back(std::move(node));
    return SUCCESS;
}

int nothing() { return SUCCESS; }

int ready(const std::string& what) {
    if (!initialized) return fault(NOT_INITIALIZED, what + " before cuInit");
    if (!current) return fault(INVALID_CONTEXT, what + " with no current context");
    return SUCCESS;
}

// ---------------------------------------------------------------------------------------------------------- copies

bool on_device(Address address) {
    Block* block = block_at(address);
    return block && !block->pinned;
}

void count_copy(Address target, Address source) {
    if (on_device(target) && !on_device(source)) counters["uploads"]++;
    if (!on_device(target) && on_device(source)) counters["downloads"]++;
}

Node copy_node(Address target, Address source, size_t bytes) {
    auto check = [=] {
        if (int error = check_range(target, bytes, "copy to")) return error;
        return check_range(source, bytes, "copy from");
    };
    auto run = [=] {
        std::memcpy(reinterpret_cast<void*>(target), reinterpret_cast<void*>(source), bytes);
        return int(SUCCESS);
    };
    return {check, run};
}

// Pageable memory is staged when it is read and waited for when it is written, and cannot be captured.
int copy_async(Address target, Address source, size_t bytes, void* handle) {
    int error;
    Stream* stream = stream_of(handle, "copy", &error);
    if (!stream) return error;
    if ((error = copy_node(target, source, bytes).check())) return error;
    bool pageable_target = !block_at(target), pageable_source = !block_at(source);
    if (stream->capture && (pageable_target || pageable_source))
        return break_capture(*stream, "copy of pageable memory");
    Node node = copy_node(target, source, bytes);
    if (pageable_source) {
        auto* from = reinterpret_cast<char*>(source);
        auto staged = std::make_shared<std::vector<char>>(from, from + bytes);
        node.run = [=] {
            std::memcpy(reinterpret_cast<void*>(target), staged->data(), bytes);
            return int(SUCCESS);
        };
    }
    if ((error = submit(*stream, node, "copy"))) return error;
    count_copy(target, source);
    return pageable_target ? drain(*stream) : SUCCESS;
}

int copy_now(Address target, Address source, size_t bytes) {
    if (int error = unsafe_call("synchronous copy")) return error;
    Node node = copy_node(target, source, bytes);
    if (int error = node.check()) return error;
    if (int error = drain_all()) return error;
    count_copy(target, source);
    return node.run();
}

int fill(Address target, unsigned value, size_t width, size_t count, void* handle) {
    int error;
    Stream* stream = stream_of(handle, "memset", &error);
    if (!stream) return error;
    auto run = [=] {
        for (size_t i = 0; i < count; i++) std::memcpy(reinterpret_cast<char*>(target) + i * width, &value, width);
        return int(SUCCESS);
    };
    return submit(*stream, {[=] { return check_range(target, width * count, "memset"); }, run}, "memset");
}

// --------------------------------------------------------------------------------------------------------- kernels

// An 8-byte parameter that looks like an address must be one of ours: no host array, nothing freed.
int check_parameter(const std::string& kernel, size_t index, Address value) {
    std::string what = kernel + "'s parameter " + std::to_string(index);
    Block* block = block_at(value);
    if (block && !block->live) return fault(ILLEGAL_ADDRESS, what + " points into freed memory, " + hex(value));
    if (block && !block->covers(value, 1))
        return fault(ILLEGAL_ADDRESS, what + " points past its allocation, " + hex(value));
    if (!block && value >> 40 && !(value >> 47))
        return fault(ILLEGAL_ADDRESS, what + " points outside any allocation, " + hex(value));
    return SUCCESS;
}

struct Launch {
    const Kernel* kernel;
    unsigned grid, block;
    std::vector<std::vector<char>> values;

    template <class Action>
    int each_pointer(Action act) const {
        for (size_t i = 0; i < values.size(); i++) {
            Address value = 0;
            if (values[i].size() != sizeof value) continue;
            std::memcpy(&value, values[i].data(), sizeof value);
            if (int error = act(i, value)) return error;
        }
        return SUCCESS;
    }
    int check() const {
        return each_pointer([this](size_t i, Address value) { return check_parameter(kernel->name, i, value); });
    }
    int run() {
        std::vector<void*> pointers;
        for (auto& value : values) pointers.push_back(value.data());
        kernel->body(pointers.data(), grid, block);
        counters["kernels_run"]++;
        return each_pointer([this](size_t i, Address value) {
            Block* touched = block_at(value);
            if (!touched || touched->intact()) return int(SUCCESS);
            return fault(ILLEGAL_ADDRESS,
                         kernel->name + " wrote outside the buffer of its parameter " + std::to_string(i));
        });
    }
};

int launch(void* function, const unsigned grid[3], const unsigned block[3], void* handle, void** params) {
    auto* kernel = static_cast<Kernel*>(function);
    if (int error = ready(kernel->name)) return error;
    int error;
    Stream* stream = stream_of(handle, "launch of " + kernel->name, &error);
    if (!stream) return error;
    unsigned threads = block[0] * block[1] * block[2];
    if (!grid[0] || !threads || threads > 1024)
        return fault(INVALID_VALUE, "launch of " + kernel->name + " as " + std::to_string(grid[0]) + " blocks of " +
                                        std::to_string(threads));
    if (grid[1] * grid[2] != 1 || block[1] * block[2] != 1)
        return fault(NOT_SUPPORTED, "launch of " + kernel->name + " in more than one dimension");
    auto call = std::make_shared<Launch>(Launch{kernel, grid[0], block[0], {}});
    for (size_t i = 0; i < kernel->sizes.size(); i++) {
        auto* value = static_cast<char*>(params[i]);
        call->values.emplace_back(value, value + kernel->sizes[i]);
    }
    if ((error = submit(*stream, {[=] { return call->check(); }, [=] { return call->run(); }}, kernel->name)))
        return error;
    counters["launches"]++;
    return SUCCESS;
}

void* host_symbol(const std::string& name) {
    static void* object = [] {
        const char* path = std::getenv("TFS_FAKE_CUDA_KERNELS");
        void* opened = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
        if (path && !opened) report += std::string("TFS_FAKE_CUDA_KERNELS: ") + dlerror() + "\n";
        return opened;
    }();
    return object ? dlsym(object, name.c_str()) : nullptr;
}

int find_kernel(Library& library, const char* name, void** out) {
    if (auto known = library.kernels.find(name); known != library.kernels.end())
        return *out = known->second.get(), SUCCESS;
    auto body = reinterpret_cast<void (*)(void**, unsigned, unsigned)>(host_symbol(std::string("tfs_host_") + name));
    auto params = reinterpret_cast<int (*)(int*)>(host_symbol(std::string("tfs_host_params_") + name));
    if (!body || !params) return fault(NOT_FOUND, std::string("kernel ") + name);
    int sizes[64];
    int count = params(sizes);
    auto kernel = std::make_unique<Kernel>(Kernel{name, {sizes, sizes + count}, body});
    *out = kernel.get();
    library.kernels[name] = std::move(kernel);
    return SUCCESS;
}

int load_library(void** out, const void* image) {
    if (int error = ready("loading a module")) return error;
    bool elf = image && !std::memcmp(image, "\177ELF", 4);
    bool fatbin = image && !std::memcmp(image, "\x50\xed\x55\xba", 4);
    if (!elf && !fatbin) return fault(INVALID_IMAGE, "an image that is neither a cubin nor a fatbin");
    auto library = std::make_unique<Library>();
    *out = library.get();
    libraries[*out] = std::move(library);
    return SUCCESS;
}

int parameter_info(void* function, size_t index, size_t* offset, size_t* size) {
    auto& sizes = static_cast<Kernel*>(function)->sizes;
    if (index >= sizes.size()) return INVALID_VALUE;  // the way to learn how many there are: no fault
    size_t at = 0;
    for (size_t i = 0; i <= index; i++) {
        size_t width = sizes[i];
        at = (at + width - 1) / width * width;
        if (i == index) *offset = at;
        at += width;
    }
    if (size) *size = sizes[index];
    return SUCCESS;
}

}  // namespace

// ------------------------------------------------------------------------------------------------ what the tests ask

API const char* tfs_fake_report() {
    ENTRY;
    static std::string shown;
    shown = report;
    return shown.c_str();
}
API long long tfs_fake_counter(const char* name) {
    ENTRY;
    return counters[name];
}
API void tfs_fake_reset() {  // the counters of events and the report; what lives goes on living
    ENTRY;
    long long live = counters["live_bytes"], pinned = counters["pinned_bytes"];
    counters.clear();
    counters["live_bytes"] = live;
    counters["pinned_bytes"] = pinned;
    report.clear();
}

// -------------------------------------------------------------------------------------------- driver, device, context

// NVRTC asks a driver for a private table, and does without where there is none.
API int cuGetExportTable(const void** table, const void*) {
    *table = nullptr;
    return 500;  // CUDA_ERROR_NOT_FOUND
}

API int cuInit(unsigned) {
    ENTRY;
    return devices() > 0 ? (initialized = true, SUCCESS) : NO_DEVICE;
}
API int cuDriverGetVersion(int* out) {
    *out = static_cast<int>(setting("TFS_FAKE_CUDA_DRIVER", 13000));
    return SUCCESS;
}
API int cuGetErrorName(int error, const char** out) {
    auto found = ERRORS.find(error);
    return found == ERRORS.end() ? INVALID_VALUE : (*out = found->second, SUCCESS);
}
API int cuGetErrorString(int error, const char** out) { return cuGetErrorName(error, out); }
API int cuGetProcAddress_v2(const char* symbol, void** out, int, uint64_t, int* status) {
    static void* self = [] {
        Dl_info here;
        dladdr(reinterpret_cast<void*>(&cuInit), &here);
        return dlopen(here.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    }();
    *out = nullptr;
    for (const char* version : {"_v3", "_v2", ""})
        if (!*out) *out = dlsym(self, (std::string(symbol) + version).c_str());
    if (status) *status = *out ? 0 : 1;
    return *out ? SUCCESS : NOT_FOUND;
}

API int cuDeviceGetCount(int* out) {
    ENTRY;
    return initialized ? (*out = static_cast<int>(devices()), SUCCESS) : NOT_INITIALIZED;
}
API int cuDeviceGet(int* out, int ordinal) {
    ENTRY;
    return ordinal >= 0 && ordinal < devices() ? (*out = ordinal, SUCCESS) : INVALID_DEVICE;
}
API int cuDeviceGetName(char* out, int length, int) {
    std::snprintf(out, length, "tfs-rt fake GPU");
    return SUCCESS;
}
API int cuDeviceTotalMem_v2(size_t* out, int) {
    *out = total_memory();
    return SUCCESS;
}
API int cuDeviceGetAttribute(int* out, int attribute, int) {
    switch (attribute) {
        case 75: *out = capability(0); break;
        case 76: *out = capability(1); break;
        case 1:
        case 2: *out = 1024; break;  // threads in a block
        case 41: *out = 1; break;    // unified addressing
        default: *out = 0;           // among them 115, memory pools
    }
    return SUCCESS;
}

API int cuDevicePrimaryCtxRetain(void** out, int device) {
    ENTRY;
    if (!initialized) return fault(NOT_INITIALIZED, "cuDevicePrimaryCtxRetain before cuInit");
    while (static_cast<int>(contexts.size()) <= device)
        contexts.push_back(std::make_unique<Context>(Context{static_cast<int>(contexts.size())}));
    return *out = contexts[device].get(), SUCCESS;
}
API int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
API int cuCtxGetCurrent(void** out) {
    *out = current;
    return SUCCESS;
}
API int cuCtxSetCurrent(void* context) {
    current = static_cast<Context*>(context);
    return SUCCESS;
}
API int cuCtxGetDevice(int* out) { return current ? (*out = current->device, SUCCESS) : INVALID_CONTEXT; }
API int cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    if (least) *least = 0;
    if (greatest) *greatest = -5;
    return SUCCESS;
}
API int cuCtxSynchronize() {
    ENTRY;
    counters["synchronizations"]++;
    if (int error = whole_device("synchronisation of the context")) return error;
    return drain_all();
}

// ----------------------------------------------------------------------------------------------------------- streams

API int cuStreamCreateWithPriority(void** out, unsigned, int) {
    ENTRY;
    if (int error = ready("cuStreamCreate")) return error;
    auto stream = std::make_unique<Stream>();
    *out = stream.get();
    streams[*out] = std::move(stream);
    return SUCCESS;
}
API int cuStreamCreate(void** out, unsigned flags) { return cuStreamCreateWithPriority(out, flags, 0); }
API int cuStreamDestroy_v2(void* handle) {
    ENTRY;
    int error;
    Stream* stream = stream_of(handle, "destruction", &error);
    if (!stream) return error;
    drain(*stream);
    streams.erase(handle);
    return SUCCESS;
}
API int cuStreamSynchronize(void* handle) {
    ENTRY;
    counters["synchronizations"]++;
    int error;
    Stream* stream = stream_of(handle, "synchronisation", &error);
    if (!stream) return error;
    return stream->capture ? break_capture(*stream, "synchronisation of the stream") : drain(*stream);
}
API int cuStreamQuery(void* handle) {  // nobody else would run what is queued, so asking is waiting
    ENTRY;
    int error;
    Stream* stream = stream_of(handle, "query", &error);
    if (!stream) return error;
    return stream->capture ? break_capture(*stream, "query of the stream") : drain(*stream);
}
API int cuStreamGetCtx_v2(void*, void** out, void** green) {
    *out = current;
    if (green) *green = nullptr;
    return SUCCESS;
}

API int cuStreamBeginCapture_v2(void* handle, int mode) {
    ENTRY;
    int error;
    Stream* stream = stream_of(handle, "capture", &error);
    if (!stream) return error;
    if (stream->capture) return fault(ILLEGAL_STATE, "capture on a stream that is capturing");
    auto graph = std::make_shared<Graph>();
    graphs[graph.get()] = graph;
    stream->capture = std::make_unique<Capture>(Capture{graph, mode, std::this_thread::get_id()});
    counters["captures"]++;
    return SUCCESS;
}
API int cuStreamEndCapture(void* handle, void** out) {
    ENTRY;
    if (out) *out = nullptr;
    int error;
    Stream* stream = stream_of(handle, "end of capture", &error);
    if (!stream) return error;
    if (!stream->capture) return ILLEGAL_STATE;
    if (stream->capture->mode != 2 && stream->capture->thread != std::this_thread::get_id())
        return fault(STREAM_CAPTURE_WRONG_THREAD, "end of capture");
    auto ended = std::move(stream->capture);
    if (ended->invalidated) return STREAM_CAPTURE_INVALIDATED;
    if (out) *out = ended->graph.get();
    return SUCCESS;
}
API int cuStreamIsCapturing(void* handle, int* out) {
    ENTRY;
    auto found = streams.find(handle);
    Capture* capture = found == streams.end() ? nullptr : found->second->capture.get();
    *out = !capture ? 0 : capture->invalidated ? 2 : 1;
    return SUCCESS;
}
API int cuStreamGetCaptureInfo_v3(void* handle, int* status, uint64_t* id, void** graph, const void** dependencies,
                                  const void** edges, size_t* count) {
    ENTRY;
    int state;
    cuStreamIsCapturing(handle, &state);
    if (status) *status = state;
    if (id) *id = 1;
    if (graph) *graph = state ? streams[handle]->capture->graph.get() : nullptr;
    if (dependencies) *dependencies = nullptr;
    if (edges) *edges = nullptr;
    if (count) *count = 0;
    return SUCCESS;
}

// ------------------------------------------------------------------------------------------------------------ events

API int cuEventCreate(void** out, unsigned) {
    ENTRY;
    auto event = std::make_unique<Event>();
    *out = event.get();
    events[*out] = std::move(event);
    return SUCCESS;
}
API int cuEventDestroy_v2(void* handle) {
    ENTRY;
    drain_all();
    return events.erase(handle) ? SUCCESS : fault(INVALID_HANDLE, "destruction of no event");
}
API int cuEventRecord(void* handle, void* on) {
    ENTRY;
    int error;
    Stream* stream = stream_of(on, "event", &error);
    if (!stream) return error;
    static_cast<Event*>(handle)->captured = stream->capture != nullptr;
    return SUCCESS;
}
API int cuEventQuery(void* handle) {
    ENTRY;
    if (int error = unsafe_call("event query")) return error;
    if (static_cast<Event*>(handle)->captured) return fault(CAPTURED_EVENT, "event query");
    return drain_all();
}
API int cuEventSynchronize(void* handle) {
    counters["synchronizations"]++;
    return cuEventQuery(handle);
}
API int cuStreamWaitEvent(void* handle, void* event, unsigned) {
    ENTRY;
    int error;
    Stream* stream = stream_of(handle, "wait for an event", &error);
    if (!stream) return error;
    if (stream->capture || static_cast<Event*>(event)->captured) return fault(NOT_SUPPORTED, "a capture that forks");
    return submit(*stream, {nothing, drain_all}, "wait for an event");
}

// ------------------------------------------------------------------------------------------------------------ memory

API int cuMemAlloc_v2(Address* out, size_t size) {
    ENTRY;
    if (int error = ready("cuMemAlloc")) return error;
    if (!size) return fault(INVALID_VALUE, "allocation of nothing");
    if (int error = unsafe_call("allocation")) return error;
    if (counters["live_bytes"] + static_cast<long long>(size) > total_memory()) return OUT_OF_MEMORY;
    return *out = allocate(size, false), SUCCESS;
}
API int cuMemFree_v2(Address address) {
    ENTRY;
    auto found = blocks.find(address);
    if (found == blocks.end() || !found->second.live || found->second.pinned)
        return fault(INVALID_VALUE, "free of " + hex(address) + ", which is no live allocation");
    if (int error = unsafe_call("free")) return error;
    drain_all();
    release(found->second);
    return SUCCESS;
}
API int cuMemAllocHost_v2(void** out, size_t size) {
    ENTRY;
    if (int error = ready("cuMemAllocHost")) return error;
    if (!size) return fault(INVALID_VALUE, "allocation of nothing");
    if (int error = unsafe_call("allocation of host memory")) return error;
    if (static_cast<long long>(size) > total_memory()) return OUT_OF_MEMORY;
    return *out = reinterpret_cast<void*>(allocate(size, true)), SUCCESS;
}
API int cuMemFreeHost(void* address) {
    ENTRY;
    auto found = blocks.find(reinterpret_cast<Address>(address));
    if (found == blocks.end() || !found->second.live || !found->second.pinned)
        return fault(INVALID_VALUE, "free of host memory that is not page-locked");
    if (int error = unsafe_call("free of host memory")) return error;
    release(found->second);  // and not a wait: whoever frees under a running copy is to see 0xDD
    return SUCCESS;
}
API int cuMemGetInfo_v2(size_t* available, size_t* total) {
    ENTRY;
    *total = total_memory();
    *available = *total - counters["live_bytes"];
    return SUCCESS;
}

API int cuMemcpyAsync(Address target, Address source, size_t bytes, void* stream) {
    ENTRY;
    return copy_async(target, source, bytes, stream);
}
API int cuMemcpyHtoDAsync_v2(Address target, const void* source, size_t bytes, void* stream) {
    ENTRY;
    return copy_async(target, reinterpret_cast<Address>(source), bytes, stream);
}
API int cuMemcpyDtoHAsync_v2(void* target, Address source, size_t bytes, void* stream) {
    ENTRY;
    return copy_async(reinterpret_cast<Address>(target), source, bytes, stream);
}
API int cuMemcpyDtoDAsync_v2(Address target, Address source, size_t bytes, void* stream) {
    ENTRY;
    return copy_async(target, source, bytes, stream);
}
API int cuMemcpy(Address target, Address source, size_t bytes) {
    ENTRY;
    return copy_now(target, source, bytes);
}
API int cuMemcpyHtoD_v2(Address target, const void* source, size_t bytes) {
    ENTRY;
    return copy_now(target, reinterpret_cast<Address>(source), bytes);
}
API int cuMemcpyDtoH_v2(void* target, Address source, size_t bytes) {
    ENTRY;
    return copy_now(reinterpret_cast<Address>(target), source, bytes);
}
API int cuMemsetD8Async(Address target, unsigned char value, size_t count, void* stream) {
    ENTRY;
    return fill(target, value, 1, count, stream);
}
API int cuMemsetD32Async(Address target, unsigned value, size_t count, void* stream) {
    ENTRY;
    return fill(target, value, 4, count, stream);
}

// ----------------------------------------------------------------------------------------------------------- kernels

API int cuLibraryLoadData(void** out, const void* image, void*, void*, unsigned, void*, void*, unsigned) {
    ENTRY;
    return load_library(out, image);
}
API int cuLibraryGetKernel(void** out, void* library, const char* name) {
    ENTRY;
    return find_kernel(*static_cast<Library*>(library), name, out);
}
API int cuModuleLoadData(void** out, const void* image) {
    ENTRY;
    return load_library(out, image);
}
API int cuModuleGetFunction(void** out, void* library, const char* name) {
    return cuLibraryGetKernel(out, library, name);
}
API int cuKernelGetFunction(void** out, void* kernel) {
    *out = kernel;
    return SUCCESS;
}
API int cuKernelGetAttribute(int* out, int attribute, void*, int) {
    *out = attribute == 0 ? 1024 : 0;
    return SUCCESS;
}
API int cuKernelGetParamInfo(void* kernel, size_t index, size_t* offset, size_t* size) {
    ENTRY;
    return parameter_info(kernel, index, offset, size);
}

API int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                       unsigned, void* stream, void** params, void**) {
    ENTRY;
    const unsigned grid[] = {gx, gy, gz}, block[] = {bx, by, bz};
    return launch(function, grid, block, stream, params);
}
struct LaunchConfig {
    unsigned grid[3], block[3], shared_bytes;
    void *stream, *attributes;
    unsigned attribute_count;
};
API int cuLaunchKernelEx(const LaunchConfig* config, void* function, void** params, void**) {
    ENTRY;
    return launch(function, config->grid, config->block, config->stream, params);
}

// ------------------------------------------------------------------------------------------------------------ graphs

API int cuGraphDestroy(void* graph) {
    ENTRY;
    let_go_of_all(graph);
    return graphs.erase(graph) ? SUCCESS : fault(INVALID_HANDLE, "destruction of no graph");
}
API int cuGraphInstantiateWithFlags(void** out, void* graph, unsigned long long) {
    ENTRY;
    auto found = graphs.find(graph);
    if (found == graphs.end()) return fault(INVALID_HANDLE, "instantiation of no graph");
    auto executable = std::make_shared<Graph>(*found->second);
    *out = executable.get();
    executables[*out] = executable;
    for (UserObject* object : retained[graph]) {
        object->references++;
        retained[*out].push_back(object);
    }
    return SUCCESS;
}
struct InstantiateParams {
    uint64_t flags;
    void *upload_stream, *failed_node;
    int result;
};
API int cuGraphInstantiateWithParams(void** out, void* graph, InstantiateParams* params) {
    params->result = 0;
    return cuGraphInstantiateWithFlags(out, graph, params->flags);
}
API int cuGraphExecDestroy(void* executable) {
    ENTRY;
    let_go_of_all(executable);
    return executables.erase(executable) ? SUCCESS : fault(INVALID_HANDLE, "destruction of no executable graph");
}
API int cuGraphUpload(void* executable, void* handle) {
    ENTRY;
    int error;
    if (!stream_of(handle, "upload of a graph", &error)) return error;
    return executables.count(executable) ? SUCCESS : fault(INVALID_HANDLE, "upload of no graph");
}
API int cuGraphLaunch(void* executable, void* handle) {
    ENTRY;
    int error;
    Stream* stream = stream_of(handle, "launch of a graph", &error);
    if (!stream) return error;
    auto found = executables.find(executable);
    if (found == executables.end()) return fault(INVALID_HANDLE, "launch of no graph");
    if (stream->capture) return break_capture(*stream, "launch of a graph");
    auto graph = found->second;  // held by the queue: an executable may be destroyed once launched
    auto check = [=] {
        for (Node& node : graph->nodes)
            if (int error = node.check()) return error;
        return int(SUCCESS);
    };
    auto run = [=] {
        for (Node& node : graph->nodes) {
            if (int error = node.run()) return error;
            counters["graph_nodes_replayed"]++;
        }
        return int(SUCCESS);
    };
    if ((error = submit(*stream, {check, run}, "launch of a graph"))) return error;
    counters["graph_launches"]++;
    return SUCCESS;
}

API int cuUserObjectCreate(void** out, void* object, void (*destroy)(void*), unsigned references, unsigned) {
    *out = new UserObject{destroy, object, references};
    return SUCCESS;
}
API int cuUserObjectRelease(void* handle, unsigned count) {
    ENTRY;
    while (count--) let_go(static_cast<UserObject*>(handle));
    return SUCCESS;
}
API int cuGraphRetainUserObject(void* graph, void* handle, unsigned count, unsigned flags) {
    ENTRY;
    auto* object = static_cast<UserObject*>(handle);
    if (!(flags & 1)) object->references += count;  // CU_GRAPH_USER_OBJECT_MOVE
    retained[graph].insert(retained[graph].end(), count, object);
    return SUCCESS;
}
API int cuGraphReleaseUserObject(void* graph, void* handle, unsigned count) {
    ENTRY;
    auto* object = static_cast<UserObject*>(handle);
    for (auto& held = retained[graph]; count--; let_go(object)) {
        auto found = std::find(held.begin(), held.end(), object);
        if (found == held.end()) return fault(INVALID_VALUE, "release of an object that the graph does not hold");
        held.erase(found);
    }
    return SUCCESS;
}
