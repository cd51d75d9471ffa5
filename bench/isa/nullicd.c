/*
 * A Vulkan driver around Mesa's RADV on its null device, for `npm run bench:isa`: RADV_FORCE_FAMILY opens any AMD family and compiles
 * with the real compiler, but cannot execute. What Dawn needs besides compiling, memory, descriptors, fences, queues, is answered
 * here with host memory and success; commands do nothing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <vulkan/vulkan.h>

typedef PFN_vkVoidFunction Function;

static Function (*radv_instance_proc)(VkInstance, const char *);
static PFN_vkGetDeviceProcAddr radv_device_proc;
static PFN_vkGetBufferMemoryRequirements radv_requirements;
static PFN_vkGetBufferMemoryRequirements2 radv_requirements2;
static void *radv;

static VkResult succeed(void) { return VK_SUCCESS; }
static void nothing(void) {}

/* One heap of one type, for the host and the device. */
static void memory(VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties *p) {
  (void)device;
  memset(p, 0, sizeof *p);
  p->memoryHeapCount = p->memoryTypeCount = 1;
  p->memoryHeaps[0] = (VkMemoryHeap){16ull << 30, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT};
  p->memoryTypes[0].propertyFlags = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                    VK_MEMORY_PROPERTY_HOST_COHERENT_BIT | VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
}
static void memory2(VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties2 *p) { memory(device, &p->memoryProperties); }

static VkResult allocate(VkDevice device, const VkMemoryAllocateInfo *info, const void *allocator, VkDeviceMemory *out) {
  (void)device, (void)allocator;
  *out = (VkDeviceMemory)calloc(1, info->allocationSize + 256);
  return *out ? VK_SUCCESS : VK_ERROR_OUT_OF_HOST_MEMORY;
}
static void release(VkDevice device, void *object, const void *allocator) {
  (void)device, (void)allocator;
  free(object);
}
static VkResult map(VkDevice device, VkDeviceMemory m, VkDeviceSize offset, VkDeviceSize size, VkFlags flags, void **out) {
  (void)device, (void)size, (void)flags;
  *out = (char *)m + offset;
  return VK_SUCCESS;
}
static void requirements(VkDevice device, VkBuffer buffer, VkMemoryRequirements *out) {
  radv_requirements(device, buffer, out);
  out->memoryTypeBits = 1;
}
static void requirements2(VkDevice device, const VkBufferMemoryRequirementsInfo2 *info, VkMemoryRequirements2 *out) {
  radv_requirements2(device, info, out);
  out->memoryRequirements.memoryTypeBits = 1;
}

static VkResult make_pool(VkDevice device, const void *info, const void *allocator, void **out) {
  (void)device, (void)info, (void)allocator;
  return (*out = calloc(1, 64)) ? VK_SUCCESS : VK_ERROR_OUT_OF_HOST_MEMORY;
}
static VkResult make_sets(VkDevice device, const VkDescriptorSetAllocateInfo *info, VkDescriptorSet *out) {
  (void)device;
  for (uint32_t i = 0; i < info->descriptorSetCount; i++) out[i] = (VkDescriptorSet)(uintptr_t)0x1000;
  return VK_SUCCESS;
}
static VkResult make_fence(VkDevice device, const void *info, const void *allocator, VkFence *out) {
  (void)device, (void)info, (void)allocator;
  *out = (VkFence)(uintptr_t)0x2000;
  return VK_SUCCESS;
}
/* -1: signalled already. */
static VkResult fence_fd(VkDevice device, const void *info, int *out) {
  (void)device, (void)info;
  *out = -1;
  return VK_SUCCESS;
}

static Function wrap(const char *name, Function original);
static Function device_proc(VkDevice device, const char *name) { return wrap(name, radv_device_proc(device, name)); }

static const struct { const char *name; Function function; } answered[] = {
#define SUCCEEDS(name) {name, (Function)succeed}
  SUCCEEDS("vkBeginCommandBuffer"), SUCCEEDS("vkEndCommandBuffer"), SUCCEEDS("vkResetCommandBuffer"), SUCCEEDS("vkResetCommandPool"),
  SUCCEEDS("vkQueueSubmit"), SUCCEEDS("vkQueueSubmit2"), SUCCEEDS("vkQueueSubmit2KHR"), SUCCEEDS("vkQueueWaitIdle"), SUCCEEDS("vkQueueBindSparse"),
  SUCCEEDS("vkDeviceWaitIdle"), SUCCEEDS("vkWaitForFences"), SUCCEEDS("vkGetFenceStatus"), SUCCEEDS("vkResetFences"),
  SUCCEEDS("vkWaitSemaphores"), SUCCEEDS("vkWaitSemaphoresKHR"), SUCCEEDS("vkBindBufferMemory"), SUCCEEDS("vkBindBufferMemory2"),
  SUCCEEDS("vkBindBufferMemory2KHR"), SUCCEEDS("vkFlushMappedMemoryRanges"), SUCCEEDS("vkInvalidateMappedMemoryRanges"),
  SUCCEEDS("vkFreeDescriptorSets"), SUCCEEDS("vkResetDescriptorPool"), SUCCEEDS("vkGetQueryPoolResults"),
  {"vkUpdateDescriptorSets", (Function)nothing}, {"vkUnmapMemory", (Function)nothing}, {"vkDestroyFence", (Function)nothing},
  {"vkGetPhysicalDeviceMemoryProperties", (Function)memory}, {"vkGetPhysicalDeviceMemoryProperties2", (Function)memory2},
  {"vkGetPhysicalDeviceMemoryProperties2KHR", (Function)memory2},
  {"vkAllocateMemory", (Function)allocate}, {"vkFreeMemory", (Function)release}, {"vkMapMemory", (Function)map},
  {"vkCreateDescriptorPool", (Function)make_pool}, {"vkDestroyDescriptorPool", (Function)release}, {"vkAllocateDescriptorSets", (Function)make_sets},
  {"vkCreateFence", (Function)make_fence}, {"vkGetFenceFdKHR", (Function)fence_fd},
};

static Function wrap(const char *name, Function original) {
  if (!original) return original;
  if (!strncmp(name, "vkCmd", 5)) return (Function)nothing;
  for (size_t i = 0; i < sizeof answered / sizeof *answered; i++)
    if (!strcmp(name, answered[i].name)) return answered[i].function;
  if (!strcmp(name, "vkGetBufferMemoryRequirements")) return radv_requirements = (PFN_vkGetBufferMemoryRequirements)original, (Function)requirements;
  if (!strncmp(name, "vkGetBufferMemoryRequirements2", 30)) return radv_requirements2 = (PFN_vkGetBufferMemoryRequirements2)original, (Function)requirements2;
  if (!strcmp(name, "vkGetDeviceProcAddr")) return radv_device_proc = (PFN_vkGetDeviceProcAddr)original, (Function)device_proc;
  return original;
}

static void *exported(const char *name) {
  if (!radv) radv = dlopen(getenv("COGWHEEL_RADV"), RTLD_NOW | RTLD_LOCAL);
  return radv ? dlsym(radv, name) : NULL;
}

Function vk_icdGetInstanceProcAddr(VkInstance instance, const char *name) {
  if (!radv_instance_proc) *(void **)&radv_instance_proc = exported("vk_icdGetInstanceProcAddr");
  return radv_instance_proc ? wrap(name, radv_instance_proc(instance, name)) : NULL;
}
Function vk_icdGetPhysicalDeviceProcAddr(VkInstance instance, const char *name) {
  Function (*get)(VkInstance, const char *);
  *(void **)&get = exported("vk_icdGetPhysicalDeviceProcAddr");
  return get ? wrap(name, get(instance, name)) : NULL;
}
VkResult vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
  VkResult (*negotiate)(uint32_t *);
  *(void **)&negotiate = exported("vk_icdNegotiateLoaderICDInterfaceVersion");
  return negotiate ? negotiate(version) : VK_ERROR_INCOMPATIBLE_DRIVER;
}
